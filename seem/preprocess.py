"""Pixels as SEEM's backbones want them: normalised, then padded with zeros on the right and bottom.

Axes: B batch, h w an image, H W the same with its padding.

No padding mask exists anywhere in SEEM: padding is part of the picture, so images of different
padded sizes never share a batch (each would see the other's padding).
Mean and deviation are ImageNet's, on RGB of 0 to 255 (PIXEL_MEAN and PIXEL_STD of SEEM's configs,
https://github.com/UX-Decoder/Segment-Everything-Everywhere-All-At-Once).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from grounding.errors import LavallamaError

__all__ = ["PIXEL_MEAN", "PIXEL_STD", "ImageSize", "Preprocessed", "check_padded", "preprocess"]

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True, kw_only=True)
class ImageSize:
    """The sizes that an image goes through, each (height, width) in pixels.

    Attributes:
        original: as the caller has it; results go back to this size.
        image: as the model sees it, without padding.
        padded: with padding.
    """

    original: tuple[int, int]
    image: tuple[int, int]
    padded: tuple[int, int]

    def crop(self, maps: Shaped[Tensor, "*lead H W"]) -> Shaped[Tensor, "*lead h w"]:
        """Maps of the padded size without their padding."""
        if tuple(maps.shape[-2:]) != self.padded:
            raise LavallamaError(
                f"maps of the padded size {_say(self.padded)} can be cropped; got "
                f"{_say(maps.shape[-2:])}: resize them first"
            )
        height, width = self.image
        return maps[..., :height, :width]


@dataclass(frozen=True, kw_only=True)
class Preprocessed:
    """A batch for a backbone.

    Attributes:
        pixels: normalised and padded, float32 [B, 3, H, W].
        sizes: of each image.
    """

    pixels: Float[Tensor, "B 3 H W"]
    sizes: tuple[ImageSize, ...]


def preprocess(
    images: Sequence[Shaped[Tensor, "3 h w"]],
    *,
    divisor: int,
    originals: Sequence[tuple[int, int]] | None = None,
) -> Preprocessed:
    """Normalise images and pad them to a multiple of the backbone's divisor.

    Args:
        images: RGB, 0 to 255, uint8 or float; all of one padded size.
        divisor: the backbone's `size_divisibility`.
        originals: (height, width) of the images before they were resized; by default as they are.

    Raises:
        LavallamaError: no images, not RGB, different padded sizes, or `originals` do not match.
    """
    if not images:
        raise LavallamaError("preprocessing needs at least one image; got none")
    sizes = []
    for number, image in enumerate(images):
        if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
            raise LavallamaError(
                f"an image must be RGB of shape [3, height, width]; got {list(image.shape)}"
            )
        now = (image.shape[1], image.shape[2])
        padded = tuple(-(-side // divisor) * divisor for side in now)
        original = now if originals is None else _original(originals, number, len(images))
        sizes.append(ImageSize(original=original, image=now, padded=(padded[0], padded[1])))
    if len({size.padded for size in sizes}) > 1:
        found = ", ".join(sorted({_say(size.padded) for size in sizes}))
        raise LavallamaError(
            f"images of one batch must have one padded size; got {found}: run them one by one"
        )
    pixels = [_normalised(image, size) for image, size in zip(images, sizes, strict=True)]
    return Preprocessed(pixels=torch.stack(pixels), sizes=tuple(sizes))


def check_padded(pixels: Float[Tensor, "B 3 H W"], divisor: int) -> None:
    """Refuse what `preprocess` has not made.

    Raises:
        LavallamaError: the shape is not [B, 3, H, W] with H and W multiples of `divisor`.
    """
    fits = pixels.ndim == 4 and pixels.shape[1] == 3 and pixels.shape[2] and pixels.shape[3]
    if not fits or pixels.shape[2] % divisor or pixels.shape[3] % divisor:
        raise LavallamaError(
            f"a backbone takes pixels [batch, 3, height, width] with sides that are multiples of "
            f"{divisor}; got {list(pixels.shape)}: preprocess the images first"
        )


def _normalised(image: Tensor, size: ImageSize) -> Float[Tensor, "3 H W"]:
    mean = torch.tensor(PIXEL_MEAN, device=image.device)[:, None, None]
    deviation = torch.tensor(PIXEL_STD, device=image.device)[:, None, None]
    bottom, right = (p - s for p, s in zip(size.padded, size.image, strict=True))
    return F.pad((image.float() - mean) / deviation, (0, right, 0, bottom))


def _original(originals: Sequence[tuple[int, int]], number: int, count: int) -> tuple[int, int]:
    if len(originals) != count:
        raise LavallamaError(
            f"every image needs its original size: {count} images, {len(originals)} sizes"
        )
    height, width = originals[number]
    return height, width


def _say(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"
