"""What a person might draw to show an object: clicks, a scribble, a box, a rough mask.

Bitmaps are bools [H, W] in pixels of the image as the model sees it. Clicks and boxes are painted
as the predictor paints them (`seem.marks`), so that the model learns from what it will be asked
with. SEEM (arXiv 2304.06718, section 4.1) simulates points, scribbles, boxes and polygons in equal
parts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from grounding.masks import bitmap_to_box
from seem.clicks import box_click, click_square, deepest_pixel
from seem.marks import outline

__all__ = ["Drawn", "draw_at_random"]

Generator = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What was drawn about one object.

    Attributes:
        positive: On it.
        negative: Beside it.
    """

    positive: np.ndarray
    negative: np.ndarray


def draw_at_random(truth: np.ndarray, generator: Generator) -> Drawn:
    """Draw something, anything, that shows an object.

    Args:
        truth: Its pixels, at least one.
        generator: Decides what is drawn, and where.
    """
    kind = KINDS[int(generator.choice(len(KINDS), p=SHARES))]
    return kind(truth, generator)


def _centre_click(truth: np.ndarray, generator: Generator) -> Drawn:
    """The click of the evaluation protocol, where the object is deepest."""
    place = deepest_pixel(truth)
    assert place is not None, "an object has a pixel"
    return Drawn(positive=click_square(place, truth.shape), negative=np.zeros_like(truth))


def _clicks(truth: np.ndarray, generator: Generator) -> Drawn:
    """One to three clicks anywhere on the object, up to two close beside it."""
    positive, negative = np.zeros_like(truth), np.zeros_like(truth)
    for place in _places(truth, int(generator.integers(1, 4)), generator):
        positive |= click_square(place, truth.shape)
    around = cv2.dilate(truth.astype(np.uint8), np.ones((15, 15), np.uint8)).astype(bool)
    for place in _places(around & ~truth, int(generator.choice([0, 0, 1, 2])), generator):
        negative |= click_square(place, truth.shape)
    return Drawn(positive=positive, negative=negative & ~truth)


def _scribble(truth: np.ndarray, generator: Generator) -> Drawn:
    """A bent line between points of the object, as far as it lies on it."""
    line = np.array(_places(truth, int(generator.integers(2, 5)), generator))[:, ::-1]
    painted = np.zeros(truth.shape, np.uint8)
    cv2.polylines(painted, [line.astype(np.int32)], False, 1, int(generator.integers(1, 4)))
    y, x = line[0][::-1]
    painted[y, x] = 1
    return Drawn(positive=painted.astype(bool) & truth, negative=np.zeros_like(truth))


def _box(truth: np.ndarray, generator: Generator) -> Drawn:
    """A box that is right but for a pixel or two: a click in the middle, an outline outside."""
    height, width = truth.shape
    box = bitmap_to_box(truth)
    assert box is not None, "an object has a pixel"
    corners = np.array(box) * (width, height, width, height)
    corners += generator.normal(0, 0.03, 4) * np.tile(corners[2:] - corners[:2], 2)
    low = np.minimum(np.clip(corners[:2], 0, None), (width - 2, height - 2))
    corners = [*low, *np.maximum(np.minimum(corners[2:], (width, height)), low + 1)]
    return Drawn(positive=box_click(corners, truth.shape), negative=outline(corners, truth.shape))


def _rough_mask(truth: np.ndarray, generator: Generator) -> Drawn:
    """The object's pixels, somewhat grown or shrunk."""
    size = int(generator.integers(1, 6))
    change = cv2.dilate if generator.random() < 0.5 else cv2.erode
    rough = change(truth.astype(np.uint8), np.ones((size, size), np.uint8)).astype(bool)
    return Drawn(positive=rough if rough.any() else truth, negative=np.zeros_like(truth))


def _places(bitmap: np.ndarray, count: int, generator: Generator) -> list[tuple[int, int]]:
    """Random (y, x) of a bitmap, with replacement; none of an empty one."""
    found = np.flatnonzero(bitmap)
    if not len(found):
        return []
    chosen = found[generator.integers(len(found), size=count)]
    return [divmod(int(index), bitmap.shape[1]) for index in chosen]


KINDS: Final[tuple[Callable[[np.ndarray, Generator], Drawn], ...]] = (
    _centre_click,
    _clicks,
    _scribble,
    _box,
    _rough_mask,
)
SHARES: Final = (0.3, 0.2, 0.2, 0.2, 0.1)
