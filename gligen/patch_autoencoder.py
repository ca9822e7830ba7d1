"""An autoencoder whose latents are patches: linear both ways, and a small network that refines.

A strided convolution turns each patch into one latent cell, a transposed one turns it back, and a
few convolutions on the picture's 4 x 4 blocks mend what the linear pair loses. With principal
components in the linear pair (``gligen.train.autoencoder``) it is good before any training, and it
is cheap: nothing runs at full resolution. Axes: B batch, C latent channels, H W pixels.
"""

from typing import Any

import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["PatchAutoencoder"]

BLOCK = 4  # pixels a side of what the refiner sees as one position


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """An autoencoder in diffusers' manner: ``encode``, ``decode``, ``save_pretrained``.

    Args:
        latent_channels: C.
        block_out_channels: As many as the picture is halved times, plus one: five make patches of
            16 x 16 pixels. The first is the refiner's width.
        refiner_layers: Residual layers of the refiner.
        scaling_factor: What latents are multiplied with for the diffusion model.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 32,
        block_out_channels: tuple[int, ...] = (64,) * 5,
        refiner_layers: int = 3,
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        patch, width = 2 ** (len(block_out_channels) - 1), block_out_channels[0]
        self.encoder = nn.Conv2d(3, latent_channels, patch, stride=patch)
        self.decoder = nn.ConvTranspose2d(latent_channels, 3, patch, stride=patch)
        self.refiner = _Refiner(width, refiner_layers)

    def encode(
        self, pixels: Float[Tensor, "B 3 H W"], return_dict: bool = True
    ) -> AutoencoderTinyOutput | tuple[Tensor]:
        """Latents [B, C, H / patch, W / patch] of pixels in [-1, 1]."""
        latents = self.encoder(pixels)
        return AutoencoderTinyOutput(latents=latents) if return_dict else (latents,)

    def decode(
        self, latents: Float[Tensor, "B C h w"], generator: Any = None, return_dict: bool = True
    ) -> DecoderOutput | tuple[Tensor]:
        """Pixels [B, 3, H, W], about in [-1, 1]; ``generator`` is part of diffusers' call."""
        pixels = self.refiner(self.decoder(latents))
        return DecoderOutput(sample=pixels) if return_dict else (pixels,)


class _Refiner(nn.Module):
    """Adds to a picture what its neighbourhood tells; at first, nothing."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        channels = 3 * BLOCK * BLOCK
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for _ in range(layers)
        )
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.first(F.pixel_unshuffle(pixels, BLOCK))
        for layer in self.layers:
            features = features + layer(features)
        return pixels + F.pixel_shuffle(self.last(F.relu(features)), BLOCK)
