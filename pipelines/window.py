"""Windows: the part of a picture that a model looks at when it redraws a box."""

import math

from grounding.geometry import Box, CanvasMap, crop

__all__ = ["window"]

SURROUNDINGS = 2.0  # sides of the window, in those of the box: the model sees what is around


def window(
    box: Box, size: tuple[int, int], own: tuple[int, int], *, closeup: bool = False
) -> CanvasMap:
    """Where a model looks when it redraws a box: the box and its surroundings, in whole pixels.

    Args:
        box: normalised xyxy.
        size: (width, height) of the picture.
        own: (width, height) that the model was trained on: the window has this shape, as far as
            the picture has room, and at least this many pixels.
        closeup: it may have fewer, to be drawn larger than it is.
    """
    centre = [(box[axis] + box[axis + 2]) / 2 * size[axis] for axis in (0, 1)]
    sides = [(box[axis + 2] - box[axis]) * size[axis] * SURROUNDINGS for axis in (0, 1)]
    scale = max(side / least for side, least in zip(sides, own, strict=True))
    scale = scale if closeup else max(1.0, scale)
    extent = [min(math.ceil(scale * one), whole) for one, whole in zip(own, size, strict=True)]
    corner = [
        min(max(0, round(middle - one / 2)), whole - one)
        for middle, one, whole in zip(centre, extent, size, strict=True)
    ]
    return crop(size, corner[0], corner[1], extent[0], extent[1])
