"""Stage 1: the autoencoder of the sticker world, patches of 16 x 16 pixels.

Its linear pair is found in closed form: the principal components of patches, the best that any
linear code of that size can do (Eckart & Young, Psychometrika 1, 1936). So latents exist at once,
and their first channels are the coarse ones. What is trained is the way back: L1 of pixels and of
their differences, with noise on the latents so that the decoder forgives the small errors of a
diffusion model. Axes: B batch, C channels, H W pixels, h w latent cells.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor, nn

from gligen.patch_autoencoder import PatchAutoencoder
from gligen.train.scenes import Scenes

LEVELS = 5  # the picture is halved four times
FACTOR = 2 ** (LEVELS - 1)
KEPT = 64  # components that are kept of each 8 x 8 patch on the way to 16 x 16
CROP = 64  # pixels a side; the refiner is convolutional, so it learns from crops
LATENT_NOISE = 0.1  # standard deviation, of latents whose mean variance is 1
DIFFERENCE_WEIGHT = 0.5
# A component of standard deviation s is divided by s ** WHITENING: 0 keeps the picture's own
# spectrum, 1 makes fine detail as loud as the layout. In between, diffusion goes coarse to fine.
WHITENING = 0.5


def build_autoencoder(*, width: int = 64, latent_channels: int = 32) -> PatchAutoencoder:
    """An autoencoder of 16 x 16 patches; ``fit_patches`` makes its linear pair."""
    return PatchAutoencoder(latent_channels=latent_channels, block_out_channels=(width,) * LEVELS)


@torch.no_grad()
def fit_patches(model: PatchAutoencoder, images: np.ndarray) -> None:
    """Write the principal components of 16 x 16 patches into the encoder and the decoder.

    The first 64 components of the patches' quarters stand for them, which keeps the statistics
    small. The mean latent is zero, and the channels' mean variance is 1.

    Args:
        model: Changed in place.
        images: uint8 [B, H, W, 3], enough for stable statistics (a thousand scenes).
    """
    quarters = rearrange(
        to_tensor(images), "B C (h p) (w q) -> B h w (p q C)", p=FACTOR // 2, q=FACTOR // 2
    )
    inner = principal_axes(quarters.flatten(0, 2))[:, :KEPT]
    joined = rearrange(quarters @ inner, "B (h p) (w q) K -> (B h w) (p q K)", p=2, q=2)
    outer = principal_axes(joined)[:, : model.encoder.out_channels]
    std, mean = torch.std_mean(joined @ outer, 0)
    gain = std**-WHITENING
    gain /= (std * gain).square().mean().sqrt()
    axes = torch.einsum("ak,skc->sac", inner, outer.unflatten(0, (4, KEPT)))
    taps = rearrange(
        axes, "(P Q) (p q C) c -> c C (P p) (Q q)", P=2, Q=2, p=FACTOR // 2, q=FACTOR // 2
    )
    model.encoder.weight.copy_(taps * gain[:, None, None, None])
    model.decoder.weight.copy_(taps / gain[:, None, None, None])
    assert model.encoder.bias is not None
    assert model.decoder.bias is not None
    model.encoder.bias.copy_(-mean * gain)
    # The way back adds the mean patch; one bias for each colour is all that the layer has, and
    # patches differ little in their mean: the refiner learns the rest.
    model.decoder.bias.copy_(torch.einsum("cCpq,c->C", taps, mean) / FACTOR**2)


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
    """Trains decoder and refiner against the latents of the finished encoder."""

    model: PatchAutoencoder
    scenes: Scenes
    batch: int = 16

    def __post_init__(self) -> None:
        """Freeze the encoder."""
        self.model.encoder.requires_grad_(False)

    def trained(self) -> nn.Module:
        """The autoencoder, whose encoder is frozen."""
        return self.model

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """Reconstruction of random crops, cut along the grid of latent cells."""
        pixels = to_tensor(self._crops(generator)).to(self.model.device)
        latents = self.model.encoder(pixels)
        noise = torch.randn(latents.shape, generator=generator).to(self.model.device)
        error = self._decoded(latents + LATENT_NOISE * noise) - pixels
        plain = error.abs().mean()
        difference = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        psnr = -10 * torch.log10((error.detach() / 2).square().mean())
        return plain + DIFFERENCE_WEIGHT * difference, {"psnr": psnr.item()}

    def _decoded(self, latents: Tensor) -> Tensor:
        return self.model.decode(latents, return_dict=False)[0]

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
            decoded = self._decoded(self.model.encoder(to_tensor(images).to(self.model.device)))
        save_grid(np.concatenate([images, to_images(decoded)]), path)
