"""Windows: the part of a picture that a model looks at when it redraws or recognises a box."""

import math

from PIL import Image

from grounding.geometry import Box, CanvasMap, crop, normalized_to_pixels

__all__ = ["square", "window"]

SURROUNDINGS = 2.0  # sides of the window, in those of the box: the model sees what is around
AROUND = 1.1  # sides of the square, in longer sides of the box


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


def square(picture: Image.Image, box: Box) -> Image.Image:
    """What is in a box and around it: CLIP sees squares, and of others the middle.

    Args:
        picture: The whole; what lies outside of it is black.
        box: normalised xyxy.
    """
    x0, y0, x1, y1 = normalized_to_pixels(box, picture.size)
    x, y, half = (x0 + x1) / 2, (y0 + y1) / 2, max(1.0, AROUND * max(x1 - x0, y1 - y0) / 2)
    return picture.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
