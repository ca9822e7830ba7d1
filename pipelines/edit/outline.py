"""Outlines: the pixels of a region, as its document says, or as SEEM finds them.

Axes: H x W pixels.
"""

import numpy as np
from jaxtyping import Bool

from grounding.errors import PromptError
from grounding.masks import region_bitmap, rle_to_bitmap
from grounding.prompt import GroundedPrompt, Region
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
    """What SEEM finds at a region's clicks, strokes or box, or by its phrase; it may be nothing."""
    asked = GroundedPrompt(canvas=scene.document.canvas, regions=[_bare(region)])
    [found] = studio.looking_at(scene.picture).predict_document(asked).regions
    assert found.mask is not None, "an answer has a mask"
    return rle_to_bitmap(found.mask)


def _bare(region: Region) -> Region:
    """What shows where a region is."""
    return Region(
        id=region.id,
        phrase=region.phrase,
        box=region.box,
        points=region.points,
        strokes=region.strokes,
    )
