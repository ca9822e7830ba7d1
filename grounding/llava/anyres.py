"""Pictures of any resolution as tiles (LLaVA-NeXT, https://llava-vl.github.io/blog/2024-01-30-llava-next/).

A picture is fitted into the best of a few canvases, the pinpoints, which is cut into tiles of the
vision tower's size. The tiles' patches are put together again, what was padding is cut off, and
each row of patches ends in a learned mark. Before them comes the whole picture, squeezed into one
tile. Sizes are (width, height), in pixels or patches.
"""  # noqa: E501

import math
from collections.abc import Sequence

from grounding.errors import GeometryError
from grounding.geometry import CanvasMap, Size, pad, resize

__all__ = ["PINPOINTS", "anyres_grid", "anyres_map", "anyres_tokens", "best_pinpoint", "unpadded"]

PINPOINTS: tuple[Size, ...] = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
"""Of LLaVA-NeXT with a tower of 336 pixels; (width, height), as the original writes them."""

DECIMALS = 7  # transformers rounds so before it cuts off the fraction


def best_pinpoint(size: Size, pinpoints: Sequence[Size]) -> Size:
    """Choose the canvas that keeps most of the picture's pixels, and of these the smallest.

    Raises:
        GeometryError: There are no pinpoints.
    """
    if not pinpoints:
        raise GeometryError("pictures of any resolution need pinpoints; got none")

    def merit(canvas: Size) -> tuple[int, int]:
        scale = min(canvas[0] / size[0], canvas[1] / size[1])
        kept = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return kept, kept - canvas[0] * canvas[1]

    return max(pinpoints, key=merit)  # of equals the first, as in the original


def anyres_map(size: Size, canvas: Size) -> CanvasMap:
    """Return the map of a picture onto its canvas: aspect kept, sides rounded up, centred."""
    wide, high = canvas[0] / size[0], canvas[1] / size[1]
    if wide < high:
        inner = (canvas[0], min(math.ceil(size[1] * wide), canvas[1]))
    else:
        inner = (min(math.ceil(size[0] * high), canvas[0]), canvas[1])
    left, top = (canvas[0] - inner[0]) // 2, (canvas[1] - inner[1]) // 2
    margins = (left, top, canvas[0] - inner[0] - left, canvas[1] - inner[1] - top)
    return resize(size, inner).then(pad(inner, *margins))


def anyres_grid(canvas: Size, side: int) -> Size:
    """Return how many tiles of `side` pixels a canvas has, across and down."""
    return canvas[0] // side, canvas[1] // side


def unpadded(size: Size, patches: Size) -> tuple[int, int, int, int]:
    """Return which patches of a canvas show the picture: (left, top, right, bottom)."""
    (width, height), (across, down) = size, patches
    if width / height > across / down:
        kept = int(round(height * (across / width), DECIMALS))
        margin = (down - kept) // 2
        return 0, margin, across, down - margin
    kept = int(round(width * (down / height), DECIMALS))
    margin = (across - kept) // 2
    return margin, 0, across - margin, down


def anyres_tokens(size: Size, pinpoints: Sequence[Size], side: int, patch: int) -> int:
    """Return how many tokens a picture becomes.

    Args:
        size: Of the picture.
        pinpoints: Canvases.
        side: Of the vision tower's pictures, in pixels.
        patch: Side of a patch, in pixels.
    """
    across, down = anyres_grid(best_pinpoint(size, pinpoints), side)
    grid = side // patch
    left, top, right, bottom = unpadded(size, (across * grid, down * grid))
    return grid * grid + (bottom - top) * (right - left + 1)
