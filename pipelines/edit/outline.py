"""Outlines: the pixels of a region, as its document says, or as SEEM finds them.

Axes: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from jaxtyping import Bool

from grounding.errors import PromptError
from grounding.geometry import Box, box_iou
from grounding.masks import bitmap_to_box, box_to_bitmap, region_bitmap, rle_to_bitmap
from grounding.prompt import GroundedPrompt, Point, Region, Segment
from pipelines.edit.scene import Scene
from pipelines.edit.studio import Studio

if TYPE_CHECKING:
    from seem.predictor import Predictor

__all__ = ["outline", "sought"]

PINHOLE = 0.05  # of a mask: a hole that is smaller is none


def outline(region: Region, scene: Scene, studio: Studio) -> Bool[np.ndarray, "H W"]:
    """The pixels of a region: its mask or polygon, else what lies at its clicks, strokes or box.

    Raises:
        PromptError: nothing is found there.
    """
    drawn = region.mask is not None or region.polygon
    area = region_bitmap(region, scene.size) if drawn else sought(region, scene, studio)
    if area is None or not area.any():
        raise PromptError(
            f"nothing was found for {region.id} ({region.phrase or 'unnamed'}): select it by a "
            "click or a box"
        )
    return _without_pinholes(area)


def sought(region: Region, scene: Scene, studio: Studio) -> Bool[np.ndarray, "H W"]:
    """What SEEM finds at a region's clicks, strokes or box, or by its phrase; it may be nothing.

    A box alone is asked about in several ways: as itself, as clicks, as both, and by the phrase.
    The answer is the one that fits the box best.
    """
    predictor = studio.looking_at(scene.picture)
    ways, box = [_bare(region)], region.box
    if box is None or region.points or region.strokes:
        return _answers(predictor, ways)[0]
    clicks = _clicks(box)
    ways += [Region(phrase=region.phrase, box=one, points=clicks) for one in (None, box)]
    found = _answers(predictor, ways)
    if region.phrase and predictor.knows(region.phrase):
        found += _answers(predictor, ways[:1], mode="referring")
    return max(found, key=lambda area: _fit(area, box))


def _answers(
    predictor: Predictor, ways: Sequence[Region], mode: Literal["prompt", "referring"] = "prompt"
) -> list[Bool[np.ndarray, "H W"]]:
    """A mask for each way to ask."""
    regions = tuple(way.replace(id=f"r{number}") for number, way in enumerate(ways))
    asked = GroundedPrompt(regions=regions, segment=Segment(mode=mode))
    answers = predictor.predict_document(asked).regions
    return [rle_to_bitmap(answer.mask) for answer in answers if answer.mask is not None]


def _without_pinholes(area: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """A mask whose smallest holes are filled: SEEM leaves out an eye or a window."""
    _, parts, told, _ = cv2.connectedComponentsWithStats((~area).astype(np.uint8), connectivity=4)
    small = told[:, cv2.CC_STAT_AREA] < PINHOLE * area.sum()
    small[0] = False  # the mask itself
    return area | small[parts]


def _clicks(box: Box) -> tuple[Point, ...]:
    """One on the middle of a box, and one beside the thing on each corner."""
    x0, y0, x1, y1 = box
    corners = [Point(xy=(x, y), label=0) for x in (x0, x1) for y in (y0, y1)]
    return Point(xy=((x0 + x1) / 2, (y0 + y1) / 2)), *corners


def _fit(area: Bool[np.ndarray, "H W"], box: Box) -> float:
    """How well a mask fills a box as a thing does, up to its edges but not along them, 0 to 1.

    What lies behind the thing would fill it along its edges.
    """
    found = bitmap_to_box(area)
    if found is None:
        return 0.0
    inside = box_to_bitmap(box, (area.shape[1], area.shape[0]))
    edge = inside & ~cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    along = (area & edge).sum() / max(1, edge.sum())
    return box_iou(found, box) * (1 - float(along))


def _bare(region: Region) -> Region:
    """What shows where a region is."""
    return Region(
        id=region.id,
        phrase=region.phrase,
        box=region.box,
        points=region.points,
        strokes=region.strokes,
    )
