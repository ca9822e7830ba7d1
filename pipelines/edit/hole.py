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

RIM = 0.045  # of the shorter side: beside a mask some of the thing still shows
TELEA_RADIUS = 3  # pixels that a filled one is made of, as in Telea's experiments
RING = 0.05  # of the shorter side: what is drawn around a hole, to be compared with the picture
REACH = 0.12  # of the shorter side: how far what that tells is carried
FADE = 2  # pixels over which the model's background fades into the picture
EPSILON = 1e-6  # in place of no weight at all

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
            marching method", 2004); "model": drawn by the model from the words for what lies
            behind; "auto": by the model if it can redraw a part of a picture, else as "telea".
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
        if self.by == "telea":
            return spread, "filled from its edge (Telea)"
        if self.by == "auto" and not studio.inpaints:
            return spread, "filled from its edge (Telea): the model redraws no parts of pictures"
        around = grown(free, max(2, round(RING * min(free.shape))))
        box = bitmap_to_box(around)
        assert box is not None, "a hole is not empty"
        drawn = Repainting(
            prompt=setting(scene.document).place,
            phrase="",
            box=box,
            seed=self.seed,
            sampling=scene.document.sampling,
            steps=self.steps,
        )(spread, studio)
        toned = _toned(drawn, scene.picture, around & ~free)
        return laid(toned, spread, matte(free, FADE)), "drawn by the model"


def _toned(
    drawn: UInt8[np.ndarray, "H W 3"],
    old: UInt8[np.ndarray, "H W 3"],
    ring: Bool[np.ndarray, "H W"],
) -> UInt8[np.ndarray, "H W 3"]:
    """What was drawn, in the tones of the picture around it.

    The difference on a ring that shows both is carried inwards by normalized convolution (Knutsson
    and Westin, CVPR 1993), near parts of the ring counting most.
    """
    if not ring.any():
        return drawn
    known = ring.astype(np.float32)
    apart = (old.astype(np.float32) - drawn) * known[..., None]
    reach = REACH * min(ring.shape)
    weight = cv2.GaussianBlur(known, (0, 0), reach) + EPSILON
    shift = cv2.GaussianBlur(apart, (0, 0), reach) / weight[..., None]
    return np.rint(drawn + shift).clip(0, 255).astype(np.uint8)
