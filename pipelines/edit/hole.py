"""Holes: what lies behind a thing that is taken away.

Axes: H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from grounding.errors import PromptError
from grounding.masks import bitmap_to_box, region_bitmap
from pipelines.edit.matte import grown, laid, matte
from pipelines.edit.regions import setting
from pipelines.edit.repaint import Repainting
from pipelines.edit.scene import Scene
from pipelines.edit.studio import Studio

__all__ = ["Filling", "hole"]

RIM = 0.025  # of the shorter side: what surrounds a mask still shows the thing's edge
TELEA_RADIUS = 3  # pixels that a filled one is made of, as in Telea's experiments
FADE = 2  # pixels over which the model's background fades into the picture

By = Literal["auto", "model", "telea"]


def hole(
    area: Bool[np.ndarray, "H W"], scene: Scene, names: tuple[str, ...]
) -> Bool[np.ndarray, "H W"]:
    """What must be filled where regions are taken away: their pixels and a rim around them.

    Args:
        area: their pixels.
        scene: other regions with masks keep theirs.
        names: ids of the regions.
    """
    free = grown(area, max(1, round(RIM * min(area.shape))))
    for region in scene.document.regions:
        if region.id not in names and (region.mask is not None or region.polygon):
            kept = region_bitmap(region, scene.size)
            assert kept is not None, "a region with a mask has a bitmap"
            free &= ~(kept & ~area)
    return free


@dataclass(frozen=True, kw_only=True)
class Filling:
    """How a hole is filled.

    Attributes:
        by: "telea": from its edge inwards (Telea, "An image inpainting technique based on the fast
            marching method", 2004); "model": drawn by the model, beginning from that; "auto": by a
            model that inpaints by itself, else as "telea".
        seed: of what is drawn.
        steps: of denoising; None: the model's own.
    """

    by: By = "auto"
    seed: int = 0
    steps: int | None = None

    def __call__(
        self, scene: Scene, free: Bool[np.ndarray, "H W"], studio: Studio
    ) -> tuple[UInt8[np.ndarray, "H W 3"], str]:
        """Fill it.

        Args:
            scene: with the hole.
            free: where it is.
            studio: the models.

        Returns:
            The picture, and how it was filled.

        Raises:
            LavallamaError: the hole is everything, or the model cannot do this.
        """
        if free.all():
            raise PromptError("nothing would be left of the picture to fill the hole from")
        spread = cv2.inpaint(
            np.ascontiguousarray(scene.picture),
            free.astype(np.uint8),
            TELEA_RADIUS,
            cv2.INPAINT_TELEA,
        )
        if self.by == "telea" or (self.by == "auto" and not studio.generator.base.inpaints):
            return spread, "filled from its edge (Telea)"
        box = bitmap_to_box(free)
        assert box is not None, "a hole is not empty"
        drawing = Repainting(
            prompt=setting(scene.document).place,
            phrase="",
            box=box,
            seed=self.seed,
            sampling=scene.document.sampling,
            steps=self.steps,
        )
        drawn = drawing(spread, studio)
        return laid(drawn, spread, matte(free, FADE)), "drawn by the model"
