"""Stage 1: a small autoencoder of the sticker world (diffusers' ``AutoencoderTiny``, f = 16).

The encoder is linear and found in closed form: the principal components of 16 x 16 patches, the
best that any linear encoder can do (Eckart & Young, Psychometrika 1, 1936), written into strided
convolutions. So latents exist at once, and their first channels are the coarse ones. The decoder is
learned: L1 of pixels and of their differences, with noise on the latents so that it forgives the
small errors of a diffusion model. Axes: B batch, C channels, H W pixels, h w latent cells.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from einops import rearrange
from PIL import Image
from torch import Tensor, nn

from gligen.train.scenes import Scenes

LEVELS = 5  # resolutions of the autoencoder: it halves the picture four times
FACTOR = 2 ** (LEVELS - 1)
ENCODER_WIDTH = 64  # components that are kept of each 8 x 8 patch on the way
CROP = 64  # pixels a side; the decoder is convolutional, so it learns from crops
LATENT_NOISE = 0.1  # standard deviation, of latents whose mean variance is 1
DIFFERENCE_WEIGHT = 0.5
# A component of standard deviation s is divided by s ** WHITENING: 0 keeps the picture's own
# spectrum, 1 makes fine detail as loud as the layout. In between, diffusion goes coarse to fine.
WHITENING = 0.5
RAW_SCALE = 0.25  # the decoder squashes its input to (-3, 3): keep latents well inside


def build_autoencoder(*, width: int = 48, latent_channels: int = 32) -> AutoencoderTiny:
    """An autoencoder with an untrained decoder; ``fit_encoder`` makes its encoder."""
    return AutoencoderTiny(
        encoder_block_out_channels=(ENCODER_WIDTH,) * LEVELS,
        decoder_block_out_channels=(width,) * LEVELS,
        num_encoder_blocks=(0,) * LEVELS,
        num_decoder_blocks=(4, 3, 2, 0, 0),
        latent_channels=latent_channels,
        scaling_factor=1 / RAW_SCALE,
    )


@torch.no_grad()
def fit_encoder(model: AutoencoderTiny, images: np.ndarray) -> None:
    """Write the principal components of patches into the encoder's convolutions.

    Patches of 2 x 2 and 4 x 4 pixels are kept whole (12 and 48 numbers), of 8 x 8 the first 64
    components, of 16 x 16 as many as there are latent channels. The mean latent is zero and the
    channels' mean variance is 1 after ``scaling_factor``.

    Args:
        model: Changed in place.
        images: uint8 [B, H, W, 3], enough for stable statistics (a thousand scenes).
    """
    convolutions = [m for m in model.encoder.layers if isinstance(m, nn.Conv2d)]
    first, *halvings, last = convolutions
    for convolution in convolutions:
        convolution.weight.zero_()
    assert first.bias is not None
    assert last.bias is not None
    first.weight[range(3), range(3), 1, 1] = 2.0  # the encoder is given [0, 1]; back to [-1, 1]
    first.bias.zero_()
    first.bias[:3] = -1.0
    features = to_tensor(images)
    for level, halving in enumerate(halvings):
        patches = rearrange(features, "B C (h p) (w q) -> (B h w) (p q C)", p=2, q=2)
        kept = ENCODER_WIDTH if level < len(halvings) - 1 else last.out_channels
        basis = principal_axes(patches)[:, :kept] if patches.shape[1] > kept else None
        basis = torch.eye(patches.shape[1]) if basis is None else basis
        taps = rearrange(basis, "(p q C) O -> O C p q", p=2, q=2)
        halving.weight[: taps.shape[0], : taps.shape[1], 1:, 1:] = taps
        height = features.shape[-2] // 2
        features = rearrange(patches @ basis, "(B h w) O -> B O h w", B=len(images), h=height)
    std, mean = torch.std_mean(features, (0, 2, 3))
    gain = std**-WHITENING
    gain *= RAW_SCALE / (std * gain).square().mean().sqrt()
    channels = range(last.out_channels)
    last.weight[channels, channels, 1, 1] = gain
    last.bias.copy_(-mean * gain)


@torch.no_grad()
def encode(model: AutoencoderTiny, images: np.ndarray) -> Tensor:
    """What ``model.encoder`` computes, by one matrix product of whole patches.

    Args:
        model: With an encoder from ``fit_encoder``.
        images: uint8 [B, H, W, 3].

    Returns:
        float32 latents [B, C, H / 16, W / 16] before ``scaling_factor``.
    """
    units = torch.eye(FACTOR * FACTOR * 3, device=model.device)
    units = units.reshape(-1, FACTOR, FACTOR, 3).permute(0, 3, 1, 2)
    offset = model.encoder(torch.zeros_like(units[:1])).flatten(1)
    matrix = model.encoder(units).flatten(1) - offset
    patches = rearrange(
        torch.tensor(images, device=model.device),
        "B (h p) (w q) C -> B h w (p q C)",
        p=FACTOR,
        q=FACTOR,
    )
    return (patches.float() @ (matrix / 127.5) + (offset - matrix.sum(0))).permute(0, 3, 1, 2)


def principal_axes(rows: Tensor) -> Tensor:
    """Orthonormal axes of float [N, D] rows as the columns of [D, D], widest spread first."""
    centred = rows - rows.mean(0)
    covariance = (centred.T @ centred / len(rows)).double()
    axes = torch.linalg.eigh(covariance).eigenvectors.flip(1).float()
    # An axis has no sign of its own; fix it, so that every machine makes the same encoder.
    largest = axes.abs().argmax(0)
    return axes * axes[largest, range(axes.shape[1])].sign()


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [-1, 1]."""
    pixels = torch.tensor(images).permute(0, 3, 1, 2)
    return pixels.float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last)


def to_images(pixels: Tensor) -> np.ndarray:
    """float [B, 3, H, W] in [-1, 1] -> uint8 [B, H, W, 3]."""
    scaled = pixels.detach().float().clamp(-1, 1).add(1).mul(127.5).round()
    return scaled.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()


def save_grid(images: np.ndarray, path: Path, columns: int = 8) -> None:
    """Write uint8 [B, H, W, 3] as one picture with the given number of columns."""
    rows = [
        np.concatenate(list(images[i : i + columns]), 1) for i in range(0, len(images), columns)
    ]
    Image.fromarray(np.concatenate(rows, 0)).save(path)


@dataclasses.dataclass
class DecoderTask:
    """Trains the decoder against the latents of the finished encoder."""

    model: AutoencoderTiny
    scenes: Scenes
    batch: int = 16

    def __post_init__(self) -> None:
        """Freeze the encoder."""
        self.model.encoder.requires_grad_(False)

    def trained(self) -> nn.Module:
        """The decoder."""
        return self.model.decoder

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """Reconstruction of random crops, cut along the grid of latent cells."""
        crops = self._crops(generator)
        pixels, latents = to_tensor(crops).to(self.model.device), encode(self.model, crops)
        noise = torch.randn(latents.shape, generator=generator).to(self.model.device)
        error = self.model.decoder(latents + LATENT_NOISE * RAW_SCALE * noise) - pixels
        plain = error.abs().mean()
        difference = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        psnr = -10 * torch.log10((error.detach() / 2).square().mean())
        return plain + DIFFERENCE_WEIGHT * difference, {"psnr": psnr.item()}

    def _crops(self, generator: torch.Generator) -> np.ndarray:
        _, height, width, _ = self.scenes.images.shape
        which = torch.randint(len(self.scenes), (self.batch,), generator=generator)
        tops = torch.randint((height - CROP) // FACTOR + 1, (self.batch,), generator=generator)
        lefts = torch.randint((width - CROP) // FACTOR + 1, (self.batch,), generator=generator)
        return np.stack(
            [
                self.scenes.images[i, y : y + CROP, x : x + CROP]
                for i, y, x in zip(
                    which.tolist(),
                    (tops * FACTOR).tolist(),
                    (lefts * FACTOR).tolist(),
                    strict=True,
                )
            ]
        )

    def sample(self, path: Path) -> None:
        """Eight scenes above, their reconstructions below."""
        images = np.asarray(self.scenes.images[:8])
        with torch.no_grad():
            decoded = self.model.decoder(encode(self.model, images))
        save_grid(np.concatenate([images, to_images(decoded)]), path)
