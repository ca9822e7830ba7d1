"""Pictures as the vision tower reads them.

| aspect   | model       | what is done                                                         |
|----------|-------------|----------------------------------------------------------------------|
| `square` | LLaVA       | the short side scaled to S, the middle cut out                        |
| `pad`    | LLaVA-1.5   | padded to a square with CLIP's mean colour, scaled to S: all is seen  |
| `anyres` | LLaVA-NeXT  | scaled to S x S; then tiles of the best canvas (`anyres`)             |

Axes: T tiles (one, but for anyres), S the side of the vision tower's pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from grounding.clip_pixels import CLIP_MEAN, CLIP_STD
from grounding.geometry import CanvasMap, Size, crop, pad, resize
from grounding.llava.anyres import PINPOINTS, anyres_map, best_pinpoint
from grounding.picture_file import as_seen

__all__ = ["Aspect", "PictureReader", "Pixels"]

Aspect = Literal["square", "pad", "anyres"]
BLACK = (0, 0, 0)  # around a picture on its anyres canvas


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """A picture for the vision tower.

    Attributes:
        values: Normalised tiles.
        size: (width, height) of the picture.
        view: Where the picture lies on the square (`square`, `pad`) or on the canvas (`anyres`).
    """

    values: Float[Tensor, "T 3 S S"]
    size: Size
    view: CanvasMap


@dataclass(frozen=True, kw_only=True)
class PictureReader:
    """Makes pictures ready.

    Attributes:
        side: Of the vision tower's pictures, in pixels.
        aspect: What is done with pictures that are not square.
        pinpoints: Canvases of `anyres`, (width, height).
        mean: What is taken off each channel, in [0, 1].
        std: What each channel is then divided by.
    """

    side: int
    aspect: Aspect = "pad"
    pinpoints: tuple[Size, ...] = PINPOINTS
    mean: Sequence[float] = CLIP_MEAN
    std: Sequence[float] = CLIP_STD

    def __call__(self, picture: Image.Image) -> Pixels:
        """Read one picture of any mode."""
        picture = as_seen(picture)
        view = self.view(picture.size)
        if self.aspect == "anyres":
            tiles = [_scaled(picture, (self.side, self.side)), *self._tiles(picture, view)]
        elif self.aspect == "pad":
            color = tuple(int(value * 255) for value in self.mean)
            square = max(picture.size)
            left, top = ((square - length) // 2 for length in picture.size)
            padded = _pasted(picture, (square, square), (left, top), color)
            tiles = [_scaled(padded, (self.side, self.side))]
        else:
            left, top = (-int(offset) for offset in view.offset)
            box = (left, top, left + self.side, top + self.side)
            tiles = [_scaled(picture, _short_side(picture.size, self.side)).crop(box)]
        values = torch.stack([self._normalized(tile) for tile in tiles])
        return Pixels(values=values, size=picture.size, view=view)

    def view(self, size: Size) -> CanvasMap:
        """Return where a picture of a size lies on what the model sees."""
        square = (self.side, self.side)
        if self.aspect == "anyres":
            return anyres_map(size, best_pinpoint(size, self.pinpoints))
        if self.aspect == "pad":
            side = max(size)
            left, top = (side - size[0]) // 2, (side - size[1]) // 2
            margins = (left, top, side - size[0] - left, side - size[1] - top)
            return pad(size, *margins).then(resize((side, side), square))
        inner = _short_side(size, self.side)
        left, top = (inner[0] - self.side) // 2, (inner[1] - self.side) // 2
        return resize(size, inner).then(crop(inner, left, top, *square))

    def _tiles(self, picture: Image.Image, view: CanvasMap) -> list[Image.Image]:
        left, top, right, bottom = (round(value) for value in view.placed())
        inner = _scaled(picture, (right - left, bottom - top))
        canvas = _pasted(inner, view.target, (left, top), BLACK)
        return [
            canvas.crop((x, y, x + self.side, y + self.side))
            for y in range(0, canvas.height, self.side)
            for x in range(0, canvas.width, self.side)
        ]

    def _normalized(self, tile: Image.Image) -> Float[Tensor, "3 S S"]:
        values = np.asarray(tile, np.float32) / 255
        values = (values - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return torch.from_numpy(values).permute(2, 0, 1)


def _short_side(size: Size, side: int) -> Size:
    """The size at which the short side is `side`; the long side is rounded down, as CLIP does."""
    short = min(size)
    return (side * size[0] // short, side * size[1] // short)


def _scaled(picture: Image.Image, size: Size) -> Image.Image:
    return picture.resize(size, Image.Resampling.BICUBIC)


def _pasted(
    picture: Image.Image, size: Size, place: tuple[int, int], color: tuple[int, ...]
) -> Image.Image:
    canvas = Image.new("RGB", size, color)
    canvas.paste(picture, place)
    return canvas
