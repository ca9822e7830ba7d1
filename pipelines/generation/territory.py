"""Territory: from regions of a document to where each lies, for `gligen.isolation`."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from gligen.isolation import Isolation
from grounding.masks import region_bitmap
from grounding.region import Region

__all__ = ["territory"]

Bitmap = Bool[np.ndarray, "H W"]


def territory(
    regions: Sequence[Region], count: int, size: tuple[int, int], cells: tuple[int, int]
) -> Isolation:
    """Where the regions of one picture lie: in their masks, polygons or else boxes.

    A region hides those with a lower z, and larger ones with the same. What neither hides, such as
    several phrases of one box, shares its place.

    Args:
        regions: in the order of their grounding tokens.
        count: of regions that the adapter takes; those that are missing lie nowhere.
        size: (width, height) of the picture in pixels.
        cells: (height, width) of its latents.
    """
    covered = torch.zeros(1, count, *cells)
    seen = torch.zeros_like(covered)
    outlines = [_outline(region, size) for region in regions]
    for index, region in enumerate(regions):
        shown = outlines[index].copy()
        for other, outline in zip(regions, outlines, strict=True):
            if _is_before(other, region, outline, outlines[index]):
                shown &= ~outline
        covered[0, index] = _shares(outlines[index], cells)
        seen[0, index] = _shares(shown, cells)
    return Isolation(covered=covered, seen=seen)


def _is_before(one: Region, other: Region, outline: Bitmap, behind: Bitmap) -> bool:
    """Whether a region hides what lies of another within its outline."""
    if one.z != other.z:
        return one.z > other.z
    return bool(outline.sum() < behind.sum())


def _outline(region: Region, size: tuple[int, int]) -> Bitmap:
    bitmap = region_bitmap(region, size)
    assert bitmap is not None, "only regions with a box are drawn"
    return bitmap


def _shares(bitmap: Bitmap, cells: tuple[int, int]) -> Tensor:
    """How much of each cell is set."""
    return F.adaptive_avg_pool2d(torch.from_numpy(bitmap)[None].float(), cells)[0]
