"""What a model does where neither user nor document says: solver, steps, guidance, gates."""

from collections.abc import Mapping
from typing import Any

from grounding.errors import CheckpointError, PromptError
from grounding.prompt import Sampling

__all__ = ["GENERATION_KEY", "model_defaults", "solver_defaults"]

# A scheduler's config may hold, under this key, the settings that its model looks best with.
GENERATION_KEY = "generation"

_SOLVERS = {  # what a published scheduler config names -> our name
    "PNDMScheduler": "plms",
    "DDIMScheduler": "ddim",
    "DPMSolverMultistepScheduler": "dpm++",
    "UniPCMultistepScheduler": "unipc",
    "LCMScheduler": "lcm",
}
_STEPS = {"plms": 50, "ddim": 50, "dpm++": 25, "unipc": 25, "lcm": 4}
_GUIDANCE = 7.5  # Stable Diffusion 1.x and GLIGEN
_DISTILLED = {"lcm": Sampling(steps=_STEPS["lcm"], guidance=1.0)}  # LCM-LoRA, arXiv 2311.05556
_SCHEDULE = (0.3, 0.0, 0.7)  # GLIGEN's alpha_type


def model_defaults(scheduler_config: Mapping[str, Any]) -> Sampling:
    """Read a model's own sampling settings from its scheduler config, completed by custom.

    Args:
        scheduler_config: a diffusers `scheduler_config.json`. Its class names the solver (one that
            we do not have stands for "dpm++"); a mapping under "generation" overrides: any of
            steps, guidance, schedule, scheduler.

    Returns:
        Settings without gaps; seed 0.

    Raises:
        CheckpointError: the "generation" settings are not valid.
    """
    try:
        own = Sampling.model_validate(scheduler_config.get(GENERATION_KEY, {}))
    except PromptError as error:
        raise CheckpointError(f"scheduler config, {GENERATION_KEY}: {error}") from None
    solver = own.scheduler or _SOLVERS.get(str(scheduler_config.get("_class_name")), "dpm++")
    custom = Sampling.model_validate(
        {
            "seed": 0,
            "scheduler": solver,
            "steps": _STEPS[solver],
            "guidance": _GUIDANCE,
            "schedule": _SCHEDULE,
            "isolate": False,
        }
    )
    return own.filled(solver_defaults(solver)).filled(custom)


def solver_defaults(solver: str | None) -> Sampling:
    """What a solver itself needs, whatever model it is used with: few steps, no guidance.

    Args:
        solver: by our name, if one is asked for.

    Returns:
        Settings, most of them absent.
    """
    return _DISTILLED.get(solver or "", Sampling())
