"""What is predicted, and how much each noise level weighs."""

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from gligen.train.diffusion import min_snr_weights, training_target
from tests.gligen.tiny import DIFFUSION

TIMES = torch.tensor([0, 300, 999])


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_weighted_error_is_min_snr_of_the_clean_latents(kind):
    """The paper's section 3.4: both forms weigh the error of x0 by min(SNR, gamma)."""
    scheduler = DDIMScheduler(**DIFFUSION, prediction_type=kind)
    clean, noise = torch.randn(2, 3, 4, 2, 2).double().unbind(0)
    noisy, target = training_target(scheduler, clean, noise, TIMES)
    predicted = target + 0.1 * torch.randn(target.shape).double()
    signal = scheduler.alphas_cumprod[TIMES].double().view(-1, 1, 1, 1)
    if kind == "epsilon":
        found = (noisy - (1 - signal).sqrt() * predicted) / signal.sqrt()
    else:
        found = signal.sqrt() * noisy - (1 - signal).sqrt() * predicted
    ratio = (signal / (1 - signal)).flatten()
    weights = min_snr_weights(scheduler, TIMES, 5.0).double()
    ours = weights * (predicted - target).square().mean((1, 2, 3))
    theirs = ratio.clamp(max=5.0) * (found - clean).square().mean((1, 2, 3))
    assert torch.allclose(ours, theirs, rtol=1e-3)
    assert torch.equal(min_snr_weights(scheduler, TIMES, 0.0), torch.ones(3))


def test_other_predictions_are_refused():
    scheduler = DDIMScheduler(**DIFFUSION, prediction_type="sample")
    with pytest.raises(ValueError, match="predicts 'sample'"):
        training_target(scheduler, torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1), TIMES[:1])
