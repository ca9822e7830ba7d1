import pytest

from grounding.errors import CheckpointError
from grounding.prompt import Sampling
from pipelines.generation.defaults import model_defaults


@pytest.mark.parametrize(
    ("config", "scheduler", "steps"),
    [
        ({"_class_name": "PNDMScheduler"}, "plms", 50),
        ({"_class_name": "DPMSolverMultistepScheduler"}, "dpm++", 25),
        ({"_class_name": "EulerDiscreteScheduler"}, "dpm++", 25),
        ({"_class_name": "PNDMScheduler", "generation": {"scheduler": "unipc"}}, "unipc", 25),
        ({"_class_name": "PNDMScheduler", "generation": {"steps": 7}}, "plms", 7),
    ],
)
def test_solver_and_steps(config, scheduler, steps):
    settings = model_defaults(config)
    assert (settings.scheduler, settings.steps) == (scheduler, steps)
    assert None not in dict(settings).values()


def test_a_models_own_settings_win():
    own = {"guidance": 4.0, "schedule": [0.6, 0.2, 0.2], "scheduler": "ddim", "steps": 30}
    assert model_defaults({"generation": own}) == Sampling(seed=0, isolate=False, **own)


@pytest.mark.parametrize("own", [{"steps": 0}, {"step": 3}, [], {"schedule": [1, 1, 1]}])
def test_settings_that_cannot_be(own):
    with pytest.raises(CheckpointError, match="generation"):
        model_defaults({"generation": own})
