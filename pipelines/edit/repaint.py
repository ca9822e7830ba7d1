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
from grounding.geometry import Box, CanvasMap, clip_xyxy
from grounding.masks import box_to_bitmap
from grounding.prompt import GroundedPrompt, Region, Sampling
from pipelines.edit.matte import laid
from pipelines.edit.studio import Studio
from pipelines.window import window

__all__ = ["Repainting"]


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
        closeup: a box that is small is drawn large, and shrunk into place.
        strength: in (0, 1]: begin from the picture, made as noisy as this share of the steps
            expects; None: draw the box from nothing.
    """

    prompt: str
    phrase: str
    box: Box
    seed: int
    sampling: Sampling = Sampling()
    steps: int | None = None
    closeup: bool = False
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
        own = frame.width, frame.height
        view = window(self.box, size, own, closeup=self.closeup)
        left, top = (-int(offset) for offset in view.offset)
        rows, columns = slice(top, top + view.target[1]), slice(left, left + view.target[0])
        old = picture[rows, columns]
        larger = (math.prod(own) / math.prod(view.target)) ** 0.5 if self.closeup else 1.0
        width, height = (round(max(1.0, larger) * side) for side in view.target)
        canvas = frame.fitting((width, height))
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


def _data_uri(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
