"""What a diffusion model is asked to predict, and how much each noise level counts.

    min-SNR-gamma: w(t) = min(SNR(t), gamma) / SNR(t) of the error of eps,
                   w(t) = min(SNR(t), gamma) / (SNR(t) + 1) of the error of v,

both of which are min(SNR, gamma) times the error of the clean latents, up to a constant of v
(Hang et al., arXiv 2303.09556, section 3.4 and the released code).
Axes: B batch, C latent channels, h w latent cells.
"""

from typing import Any

import torch
from torch import Tensor

from grounding.errors import LavallamaError

__all__ = ["PREDICTIONS", "min_snr_weights", "training_target"]

PREDICTIONS = ("epsilon", "v_prediction")


def training_target(
    scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor
) -> tuple[Tensor, Tensor]:
    """Noisy latents, and what the UNet should say of them, both [B, C, h, w].

    Args:
        scheduler: A diffusers scheduler; its config says what its model predicts.
        clean: [B, C, h, w].
        noise: The same, standard normal.
        timesteps: int64 [B].

    Raises:
        LavallamaError: The model predicts something else than eps or v.
    """
    noisy = scheduler.add_noise(clean, noise, timesteps)
    if _prediction(scheduler) == "epsilon":
        return noisy, noise
    return noisy, scheduler.get_velocity(clean, noise, timesteps)


def min_snr_weights(scheduler: Any, timesteps: Tensor, gamma: float) -> Tensor:
    """The weight of each image's error, float32 [B].

    Args:
        scheduler: As above.
        timesteps: int64 [B].
        gamma: 5 in the paper; 0: all weigh 1.
    """
    if not gamma:
        return torch.ones(len(timesteps))
    signal = scheduler.alphas_cumprod[timesteps].double()
    ratio = signal / (1 - signal)
    whole = ratio if _prediction(scheduler) == "epsilon" else ratio + 1
    return (ratio.clamp(max=gamma) / whole).float()


def _prediction(scheduler: Any) -> str:
    kind = scheduler.config["prediction_type"]
    if kind not in PREDICTIONS:
        raise LavallamaError(
            f"gates are trained on models that predict {' or '.join(PREDICTIONS)}; this base "
            f"predicts {kind!r}"
        )
    return kind
