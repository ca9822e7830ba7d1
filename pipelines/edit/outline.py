"""Outlines: the pixels of a region, as its document says, or as SEEM finds them.

Axes: H x W pixels.
"""

import cv2
import numpy as np
from jaxtyping import Bool

from grounding.errors import PromptError
from grounding.geometry import Box, box_iou
from grounding.masks import bitmap_to_box, box_to_bitmap, region_bitmap, rle_to_bitmap
from grounding.prompt import GroundedPrompt, Point, Region
from pipelines.edit.scene import Scene
from pipelines.edit.studio import Studio

__all__ = ["outline", "sought"]


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
    return area


def sought(region: Region, scene: Scene, studio: Studio) -> Bool[np.ndarray, "H W"]:
    """What SEEM finds at a region's clicks, strokes or box, or by its phrase; it may be nothing.

    A box alone is asked about in three ways, as itself, as clicks, and as both: the answer is the
    one that fits it best.
    """
    ways = [_bare(region)]
    if region.box is not None and not (region.points or region.strokes):
        clicks = _clicks(region.box)
        ways += [Region(phrase=region.phrase, box=box, points=clicks) for box in (None, region.box)]
    asked = GroundedPrompt(
        canvas=scene.document.canvas,
        regions=[way.replace(id=f"r{number}") for number, way in enumerate(ways)],
    )
    answers = studio.looking_at(scene.picture).predict_document(asked).regions
    found = [rle_to_bitmap(answer.mask) for answer in answers if answer.mask is not None]
    box = region.box
    return found[0] if box is None else max(found, key=lambda area: _fit(area, box))


def _clicks(box: Box) -> list[Point]:
    """One on the middle of a box, and one beside the thing on each corner."""
    x0, y0, x1, y1 = box
    corners = [Point(xy=(x, y), label=0) for x in (x0, x1) for y in (y0, y1)]
    return [Point(xy=((x0 + x1) / 2, (y0 + y1) / 2)), *corners]


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
