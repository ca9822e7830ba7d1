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
TONE_SIDE = 256  # pixels: tones change slowly, so that a small picture tells them
SAME = 48  # levels between tones of one ground
EPSILON = 1e-6  # in place of no weight at all

By = Literal["auto", "model", "telea"]


def hole(area: Bool[np.ndarray, "H W"], scene: Scene, name: str) -> Bool[np.ndarray, "H W"]:
    """What must be filled where a region is taken away: its pixels and a rim around them.

    Args:
        area: its pixels.
        scene: other regions with masks keep theirs.
        name: id of the region.
    """
    free = grown(area, max(1, round(RIM * min(area.shape))))
    return free & (area | ~_others(scene, name, boxes=False))


def _others(scene: Scene, name: str, *, boxes: bool) -> Bool[np.ndarray, "H W"]:
    """The pixels of all other regions; of those without masks, their boxes or nothing."""
    taken = np.zeros(scene.picture.shape[:2], dtype=bool)
    for region in scene.document.regions:
        drawn = boxes or region.mask is not None or bool(region.polygon)
        bitmap = region_bitmap(region, scene.size) if drawn and region.id != name else None
        if bitmap is not None:
            taken |= bitmap
    return taken


@dataclass(frozen=True, kw_only=True)
class Filling:
    """How a hole is filled.

    Attributes:
        by: "telea": from its edge inwards (Telea, "An image inpainting technique based on the fast
            marching method", 2004); "model": drawn by the model from the words for what lies
            behind; "auto": by the model if it can redraw a part of a picture and the document says
            what lies behind ("on a beach"), else as "telea".
        seed: of what is drawn.
        steps: of denoising; None: the model's own.
    """

    by: By = "auto"
    seed: int = 0
    steps: int | None = None

    def __call__(
        self, scene: Scene, name: str, area: Bool[np.ndarray, "H W"], studio: Studio
    ) -> tuple[UInt8[np.ndarray, "H W 3"], str]:
        """Take a region away and fill the hole.

        Args:
            scene: with the region.
            name: its id.
            area: its pixels.
            studio: the models.

        Returns:
            The picture, and how the hole was filled.

        Raises:
            LavallamaError: the hole is everything, or the model cannot do this.
        """
        free = hole(area, scene, name)
        if free.all():
            raise PromptError("nothing would be left of the picture to fill the hole from")
        place = setting(scene.document).place
        why = _why_not(place, studio) if self.by == "auto" else ""
        if self.by == "telea" or why:
            how = "filled from its edge (Telea)" + (f": {why}" if why else "")
            return _spread(scene.picture, free), how
        around = grown(free, max(2, round(RING * min(free.shape))))
        box = bitmap_to_box(around)
        assert box is not None, "a hole is not empty"
        drawn = Repainting(
            prompt=place,
            phrase="",
            box=box,
            seed=self.seed,
            sampling=scene.document.sampling,
            steps=self.steps,
        )(_spread(scene.picture, free), studio)
        drawn = _toned(drawn, scene.picture, around & ~free)
        free |= _leftovers(drawn, scene.picture, free, around & ~_others(scene, name, boxes=True))
        spread = _spread(scene.picture, free)
        return laid(drawn, spread, matte(free, FADE)), "drawn by the model"


def _why_not(place: str, studio: Studio) -> str:
    """Why a model should not draw what lies behind; "" if it should."""
    if not studio.inpaints:
        return "the model redraws no parts of pictures"
    if not place and not studio.generator.base.inpaints:
        return "nothing says what lies behind"
    return ""


def _spread(
    picture: UInt8[np.ndarray, "H W 3"], free: Bool[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """A picture with a hole filled from its edge."""
    pixels = np.ascontiguousarray(picture)
    return cv2.inpaint(pixels, free.astype(np.uint8), TELEA_RADIUS, cv2.INPAINT_TELEA)


def _leftovers(
    drawn: UInt8[np.ndarray, "H W 3"],
    old: UInt8[np.ndarray, "H W 3"],
    free: Bool[np.ndarray, "H W"],
    near: Bool[np.ndarray, "H W"],
) -> Bool[np.ndarray, "H W"]:
    """What a mask has missed of a thing: it hangs together with the hole, and is no background."""
    apart = near & (np.abs(drawn.astype(np.int16) - old).max(axis=-1) > SAME)
    _, parts = cv2.connectedComponents((apart | free).astype(np.uint8), connectivity=8)
    return near & grown(apart & np.isin(parts, np.unique(parts[free])), 1)


def _toned(
    drawn: UInt8[np.ndarray, "H W 3"],
    old: UInt8[np.ndarray, "H W 3"],
    ring: Bool[np.ndarray, "H W"],
) -> UInt8[np.ndarray, "H W 3"]:
    """What was drawn, in the tones of the picture around it.

    The difference on a ring that shows both is carried inwards by normalized convolution (Knutsson
    and Westin, CVPR 1993), near parts of the ring counting most. Where they differ much, another
    thing stands, which tells nothing.
    """
    apart = old.astype(np.float32) - drawn
    known = (ring & (np.abs(apart).max(axis=-1) <= SAME)).astype(np.float32)
    size, shrink = ring.shape[::-1], min(1.0, TONE_SIDE / max(ring.shape))
    small = (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))
    told = np.dstack((apart * known[..., None], known))
    told = cv2.resize(told, small, interpolation=cv2.INTER_AREA)
    told = cv2.GaussianBlur(told, (0, 0), REACH * min(small))
    shift = told[..., :3] / (told[..., 3:] + EPSILON)
    shift = cv2.resize(shift, size, interpolation=cv2.INTER_LINEAR)
    return np.rint(drawn + shift).clip(0, 255).astype(np.uint8)
