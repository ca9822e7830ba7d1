"""Repainting: a part of a picture of any size, redrawn by a model that has a size of its own.

The model redraws a box on a window around it, by Blended Latent Diffusion (Avrahami et al.,
arXiv 2206.02779), or begins from the window as it is, made noisy (SDEdit, Meng et al.,
arXiv 2108.01073). Outside of the box the picture stays, bit for bit.
Axes: H x W pixels.
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from grounding.errors import LavallamaError
from grounding.geometry import Box, CanvasMap, clip_xyxy, crop
from grounding.masks import box_to_bitmap
from grounding.prompt import GroundedPrompt, Region, Sampling
from pipelines.edit.matte import laid
from pipelines.edit.studio import Studio

__all__ = ["Repainting", "window"]

SURROUNDINGS = 2.0  # sides of the window, in those of the box: the model sees what is around


@dataclass(frozen=True, kw_only=True)
class Repainting:
    """What is drawn.

    Attributes:
        prompt: what the whole picture shows then.
        phrase: what the box shows; "": what lies behind everything.
        box: normalised xyxy.
        seed: of the drawing.
        sampling: the document's other settings.
        steps: of denoising; None: as `sampling`, else the model's own.
        strength: in (0, 1]: begin from the picture, made as noisy as this share of the steps
            expects; None: draw the box from nothing.
    """

    prompt: str
    phrase: str
    box: Box
    seed: int
    sampling: Sampling = Sampling()
    steps: int | None = None
    strength: float | None = None

    def __call__(
        self, picture: UInt8[np.ndarray, "H W 3"], studio: Studio
    ) -> UInt8[np.ndarray, "H W 3"]:
        """Draw it into a picture.

        Raises:
            LavallamaError: the model redraws no boxes.
        """
        if not studio.inpaints:
            raise LavallamaError(
                f"{studio.generator.names[0] or 'this model'} cannot redraw a part of a picture: "
                "name an --adapter for boxes, or a model for inpainting"
            )
        generator, size = studio.generator, (picture.shape[1], picture.shape[0])
        frame = generator.frame
        view = window(self.box, size, (frame.width, frame.height))
        left, top = (-int(offset) for offset in view.offset)
        rows, columns = slice(top, top + view.target[1]), slice(left, left + view.target[0])
        old = picture[rows, columns]
        canvas = frame.fitting(view.target, lambda message: None).size
        seen = Image.fromarray(old).resize(canvas, Image.Resampling.LANCZOS)
        [drawn] = generator(
            self._document(view),
            progress=False,
            image=_data_uri(seen),
            seed=self.seed,
            steps=self.steps,
            strength=self.strength,
        )
        new = np.asarray(drawn.image.resize(view.target, Image.Resampling.LANCZOS))
        result = picture.copy()
        result[rows, columns] = new
        inside = box_to_bitmap(self.box, size)
        return laid(result, picture, inside.astype(np.float32))

    def _document(self, view: CanvasMap) -> GroundedPrompt:
        box = clip_xyxy(view.normalized_box(self.box))
        return GroundedPrompt(
            prompt=self.prompt,
            regions=(Region(id="r1", phrase=self.phrase, box=box),),
            sampling=self.sampling.replace(seed=None),
        )


def window(box: Box, size: tuple[int, int], own: tuple[int, int]) -> CanvasMap:
    """Where a model looks when it redraws a box: the box and its surroundings, in whole pixels.

    Args:
        box: normalised xyxy.
        size: (width, height) of the picture.
        own: (width, height) that the model was trained on: the window has at least this many
            pixels, and this shape, as far as the picture has room.
    """
    centre = [(box[axis] + box[axis + 2]) / 2 * size[axis] for axis in (0, 1)]
    sides = [(box[axis + 2] - box[axis]) * size[axis] * SURROUNDINGS for axis in (0, 1)]
    scale = max(1.0, *(side / least for side, least in zip(sides, own, strict=True)))
    extent = [min(math.ceil(scale * one), whole) for one, whole in zip(own, size, strict=True)]
    corner = [
        min(max(0, round(middle - one / 2)), whole - one)
        for middle, one, whole in zip(centre, extent, size, strict=True)
    ]
    return crop(size, corner[0], corner[1], extent[0], extent[1])


def _data_uri(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
