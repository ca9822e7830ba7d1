"""From noise to latents: classifier-free guidance over text and grounding, with any scheduler.

    eps = eps(z | negative prompt, no regions) + g * (eps(z | prompt, regions) - eps(z | ...))

(Ho & Salimans, "Classifier-Free Diffusion Guidance", arXiv 2207.12598.) Both halves are one batched
call of the UNet. Nothing here depends on what else is in the batch: one generator for each image
makes the noise, that of stochastic steps too; the other schedulers are deterministic (eta = 0).
Axes: B images, C latent channels, H x W latent cells, T prompt tokens, N grounding tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from jaxtyping import Float
from torch import Tensor, nn

from gligen.adapter import GligenAdapter
from gligen.inpainting import KnownLatents
from gligen.isolation import Isolation
from gligen.schedule import evaluation_scales
from grounding.errors import LavallamaError

__all__ = [
    "SCHEDULERS",
    "Companion",
    "Condition",
    "SamplerSettings",
    "Start",
    "initial_noise",
    "make_scheduler",
    "sample",
]

Latents = Float[Tensor, "B C H W"]
StepCallback = Callable[[int, int, Latents], None]
# What runs beside the gates at every step: given the latents of the UNet's batch (the negative half
# first), the timestep and the UNet's other inputs, it returns those inputs with its own added.
Companion = Callable[[Latents, Tensor, Mapping[str, Any]], Mapping[str, Any]]

SCHEDULERS: dict[str, tuple[type, dict[str, Any]]] = {
    "plms": (PNDMScheduler, {"skip_prk_steps": True}),  # Liu et al., arXiv 2202.09778
    "ddim": (DDIMScheduler, {}),  # Song et al., arXiv 2010.02502
    "dpm++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),  # arXiv 2211.01095
    "unipc": (UniPCMultistepScheduler, {}),  # Zhao et al., arXiv 2302.04867
    "lcm": (LCMScheduler, {}),  # Luo et al., arXiv 2310.04378; draws noise at every step
}
LATENT_DEFAULTS = {"clip_sample": False, "set_alpha_to_one": False}  # as in Stable Diffusion


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What one half of the guidance is given.

    Attributes:
        context: [B, T, channels], the encoded prompts; any T, the same on both halves.
        tokens: [B, N, channels] grounding tokens, or None for images without regions.
        isolation: where the regions of `tokens` lie, to keep them apart; None: nothing is kept
            apart.
        added: further inputs of the UNet (`added_cond_kwargs`: SDXL's text_embeds and time_ids).
        extra: [B, X, H, W] channels beside the latents, for an adapter that reads maps. Those of
            the positive condition go to both halves, as in the official code.
        known: latents to keep (inpainting); of the positive condition.
        beside: [B, X, H, W] channels that the UNet itself reads after the latents (an inpainting
            UNet: mask and masked picture); of the positive condition, for both halves.
        companions: what else is given to the UNet, step by step; of the positive condition.
    """

    context: Tensor
    tokens: Tensor | None = None
    isolation: Isolation | None = None
    added: Mapping[str, Tensor] = field(default_factory=dict)
    extra: Tensor | None = None
    known: KnownLatents | None = None
    beside: Tensor | None = None
    companions: Sequence[Companion] = ()


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """How to sample.

    Attributes:
        steps: of the whole way from noise to picture.
        guidance: 1 is none, and half the work.
        schedule: of the gates, as fractions of the steps that are taken.
        strength: in (0, 1]: the share of the steps that are taken, the last ones.
    """

    steps: int = 50
    guidance: float = 7.5
    schedule: tuple[float, float, float] = (0.3, 0.0, 0.7)
    strength: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """Where denoising begins.

    Attributes:
        noise: [B, C, H, W] standard normal, see `initial_noise`.
        picture: [B, C, H, W] latents to begin from, made as noisy as the first step that is taken
            expects (image-to-image: SDEdit, Meng et al., arXiv 2108.01073); None: from noise alone.
        generators: one for each image, of the noise that stochastic schedulers draw on the way.
    """

    noise: Latents
    picture: Latents | None = None
    generators: Sequence[torch.Generator] = ()

    def latents(self, scheduler: Any, timestep: Tensor) -> Latents:
        """The first latents; `timestep` is [1], of the first step that is taken."""
        if self.picture is None:
            return self.noise * scheduler.init_noise_sigma
        return scheduler.add_noise(self.picture.to(self.noise), self.noise, timestep)


def make_scheduler(name: str, config: Mapping[str, Any]) -> Any:
    """A scheduler of diffusers by our name, for the diffusion process that `config` describes.

    Args:
        name: "plms", "ddim", "dpm++", "unipc" or "lcm".
        config: a scheduler's config as diffusers saves it, of whatever class; betas, prediction
            type, spacing and offset are taken from it.
    """
    if name not in SCHEDULERS:
        raise LavallamaError(f"scheduler must be one of {', '.join(SCHEDULERS)}; got {name!r}")
    kind, fixed = SCHEDULERS[name]
    public = {key: value for key, value in config.items() if not key.startswith("_")}
    return kind.from_config({**LATENT_DEFAULTS, **public, **fixed})


def initial_noise(
    generators: Sequence[torch.Generator], shape: tuple[int, int, int]
) -> Float[Tensor, "B C H W"]:
    """Standard normal noise, one generator for each image, in float32 where the generators are.

    Args:
        generators: B generators; on the CPU they give the same picture on every machine.
        shape: (C, H, W) of one image.
    """
    return torch.cat(
        [torch.randn((1, *shape), generator=one, device=one.device) for one in generators]
    )


@torch.no_grad()
def sample(
    unet: nn.Module,
    scheduler: Any,
    start: Start | Latents,
    positive: Condition,
    negative: Condition | None = None,
    *,
    settings: SamplerSettings,
    adapter: GligenAdapter | None = None,
    on_step: StepCallback | None = None,
) -> Latents:
    """Denoise a batch of images, each with its own prompt and regions.

    Args:
        unet: a UNet2DConditionModel, or what is called like one.
        scheduler: a diffusers scheduler; its config is used, its state neither read nor changed.
        start: where to begin; a tensor is its noise, [B, C, H, W]. It stays in its dtype.
        positive: prompts and grounding tokens.
        negative: the other half of the guidance; null grounding where `positive` is grounded and
            this has no tokens. Not needed at guidance 1.
        settings: steps, guidance, gate schedule, strength.
        adapter: the adapter that is injected into `unet`; needed for grounding tokens.
        on_step: called after each evaluation with (done, total, latents).

    Returns:
        [B, C, H, W] latents, in the dtype and on the device of the noise.

    Raises:
        LavallamaError: steps, guidance, schedule or shapes that cannot be.
    """
    start = Start(noise=start) if isinstance(start, Tensor) else start
    scheduler = _fresh(scheduler, settings.steps, start.noise.device)
    guided, known = settings.guidance != 1, positive.known
    condition = _condition(start, positive, negative if guided else None, settings, adapter)
    timesteps, steps = _last_steps(scheduler.timesteps, settings)
    scales = evaluation_scales(len(timesteps), steps, settings.schedule)
    chance = _chance(scheduler, start)
    latents = start.latents(scheduler, timesteps[:1])
    with _grounded(adapter, condition) as run:
        for index, (timestep, scale) in enumerate(zip(timesteps, scales, strict=True)):
            if run is not None:
                run.scale = scale
            if known is not None:
                latents = known.pasted(latents, float(scheduler.alphas_cumprod[int(timestep)]))
            inputs = scheduler.scale_model_input(latents, timestep).to(condition.context.dtype)
            predicted = _predicted(unet, inputs, timestep, condition, guided).to(latents.dtype)
            if guided:
                without, with_it = predicted.chunk(2)
                predicted = without + settings.guidance * (with_it - without)
            latents = scheduler.step(predicted, timestep, latents, return_dict=False, **chance)[0]
            if on_step is not None:
                on_step(index + 1, len(timesteps), latents)
    return latents if known is None else known.pasted(latents)


def _predicted(
    unet: nn.Module, latents: Latents, timestep: Tensor, condition: Condition, guided: bool
) -> Tensor:
    """One call of the UNet, on both halves of the guidance."""
    inputs = torch.cat((latents, latents)) if guided else latents
    call: Mapping[str, Any] = {
        "encoder_hidden_states": condition.context,
        "added_cond_kwargs": dict(condition.added),
    }
    for companion in condition.companions:
        call = companion(inputs, timestep, call)
    if condition.beside is not None:
        inputs = torch.cat((inputs, condition.beside.to(inputs)), dim=1)
    return unet(inputs, timestep, **call, return_dict=False)[0]


def _last_steps(every: Tensor, settings: SamplerSettings) -> tuple[Tensor, int]:
    """The timesteps to take at this strength, and the steps that they are."""
    if not 0 < settings.strength <= 1:
        raise LavallamaError(f"strength must be above 0 and at most 1; got {settings.strength}")
    steps = max(1, round(settings.steps * settings.strength))
    if steps == settings.steps:
        return every, steps
    last = every[-steps:]
    if len(every) == settings.steps + 1:  # PLMS evaluates the model twice in its first step
        last = torch.cat((last[:2], last[1:]))
    return last, steps


def _chance(scheduler: Any, start: Start) -> dict[str, Any]:
    """What a step of a stochastic scheduler draws its noise from."""
    if not isinstance(scheduler, LCMScheduler):
        return {}
    if len(start.generators) != len(start.noise):
        raise LavallamaError(
            "this scheduler draws noise at every step, from one generator for each image: expected "
            f"a Start with {len(start.noise)} generators, got {len(start.generators)}"
        )
    return {"generator": list(start.generators)}


def _grounded(adapter: GligenAdapter | None, condition: Condition) -> Any:
    """The adapter at work, or, without one, nothing; a context that yields the run or None."""
    if adapter is None:
        return nullcontext()
    return adapter.grounded(condition.tokens, extra=condition.extra, isolation=condition.isolation)


def _fresh(scheduler: Any, steps: int, device: torch.device) -> Any:
    """A copy without history, set to so many steps."""
    trained = scheduler.config.num_train_timesteps
    if not 1 <= steps <= trained:
        raise LavallamaError(f"steps must be between 1 and {trained}; got {steps}")
    scheduler = type(scheduler).from_config(scheduler.config)
    most = scheduler.config.get("original_inference_steps", trained)  # LCM was distilled from these
    if steps > most:
        raise LavallamaError(f"this scheduler takes at most {most} steps; got {steps}")
    scheduler.set_timesteps(steps, device=device)
    if scheduler.timesteps.max() >= trained:
        raise LavallamaError(
            f"{steps} steps reach beyond the {trained} that the model was trained on; take fewer"
        )
    return scheduler


def _condition(
    start: Start,
    positive: Condition,
    negative: Condition | None,
    settings: SamplerSettings,
    adapter: GligenAdapter | None,
) -> Condition:
    """One condition for the UNet's batch: the negative half, then the positive one."""
    batch, guided = start.noise.shape[0], settings.guidance != 1
    _check_batch(batch, positive, start.picture)
    if guided and negative is None:
        raise LavallamaError(
            f"guidance {settings.guidance} contrasts with a negative condition, and there is none; "
            "give one (an empty prompt will do), or guidance 1"
        )
    if positive.tokens is not None and adapter is None:
        raise LavallamaError("grounding tokens need the adapter that made them; pass adapter=")
    tokens, extra, beside = positive.tokens, _extra(positive, adapter), positive.beside
    if negative is None:
        return replace(positive, extra=extra)
    if tokens is not None and adapter is not None:
        nothing = negative.tokens
        if nothing is None:
            nothing = adapter.null_tokens(batch, tokens.shape[1]).to(tokens)
        tokens = _joined("grounding tokens", nothing, tokens)
    apart = positive.isolation
    if apart is not None:
        apart = Isolation.joined([negative.isolation or apart.nowhere(), apart])
    return Condition(
        context=_joined("prompts", negative.context, positive.context),
        tokens=tokens,
        isolation=apart,
        added={
            name: _joined(name, negative.added[name], positive.added[name])
            for name in positive.added
        },
        extra=None if extra is None else torch.cat((extra, extra)),
        beside=None if beside is None else torch.cat((beside, beside)),
        companions=positive.companions,
    )


def _extra(positive: Condition, adapter: GligenAdapter | None) -> Tensor | None:
    """Channels beside the latents: given, or, for an adapter that inpaints, of what is known."""
    extra = positive.extra
    if extra is not None and adapter is None:
        raise LavallamaError("extra channels need the adapter that reads them; pass adapter=")
    if adapter is None or not adapter.config.inpainting:
        return extra
    if positive.known is None:
        raise LavallamaError(
            "an adapter that inpaints needs the latents to keep; give the condition known="
        )
    return positive.known.channels().to(positive.context)


def _joined(name: str, negative: Tensor, positive: Tensor) -> Tensor:
    if negative.shape != positive.shape:
        raise LavallamaError(
            f"the {name} of both halves of the guidance must have one shape; "
            f"got {list(negative.shape)} (negative) and {list(positive.shape)}; pad the shorter"
        )
    return torch.cat((negative, positive))


def _check_batch(batch: int, condition: Condition, picture: Tensor | None) -> None:
    known = None if condition.known is None else condition.known.latents
    for name, tensor in (
        ("prompts", condition.context),
        ("grounding tokens", condition.tokens),
        ("extra channels", condition.extra),
        ("known latents", known),
        ("channels beside the latents", condition.beside),
        ("picture to begin from", picture),
    ):
        if tensor is not None and tensor.shape[0] != batch:
            raise LavallamaError(
                f"the noise and the {name} must be of one batch; got {batch} and {tensor.shape[0]}"
            )
