"""Which quantity a UNet predicts, where its checkpoint does not say: the noise, or v.

At the last step of training the UNet reads almost nothing but noise. A model of the noise gives
back what it reads; a model of v = alpha * noise - sigma * x (Salimans & Ho, "Progressive
Distillation", arXiv 2202.00512, appendix D) has alpha near 0 there, and gives minus the picture
that it has in mind, which has nothing to do with what it reads.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

__all__ = ["find_prediction_type"]

SIDE = 16  # latent cells: enough for 1024 numbers to correlate, cheap on a CPU
LAST_STEP = 999
LIKE = 0.5  # a correlation above this is no accident: by chance it has a deviation of 1/32


@torch.no_grad()
def find_prediction_type(unet: nn.Module) -> Literal["epsilon", "v_prediction"]:
    """Ask a UNet, on one small canvas of seeded noise and an empty context, what it predicts."""
    config: Any = unet.config
    parameter = next(unet.parameters())
    channels, latents = config["in_channels"], config["out_channels"]
    generator = torch.Generator("cpu").manual_seed(0)
    noise = torch.randn(1, latents, SIDE, SIDE, generator=generator)
    beside = torch.zeros(1, channels - latents, SIDE, SIDE)
    if channels > latents:
        beside[:, 0] = 1  # an inpainting UNet: everything is drawn anew
    context = torch.zeros(1, 1, config["cross_attention_dim"])
    inputs = torch.cat((noise, beside), dim=1).to(parameter)
    seen = unet(inputs, LAST_STEP, encoder_hidden_states=context.to(parameter)).sample.float().cpu()
    alike = torch.corrcoef(torch.stack((noise.flatten(), seen.flatten())))[0, 1]
    return "epsilon" if alike > LIKE else "v_prediction"
