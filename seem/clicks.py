"""Clicks that a tireless person would make: inside a box, on an object, on what is still wrong.

Bitmaps are NumPy arrays of bools `[height, width]`; places are (y, x), boxes xyxy, in pixels. This
is how SEEM (arXiv 2304.06718, section 4.1) trains and measures interactive segmentation, after the
NoC protocol of Sofiiuk et al., "Reviving Iterative Training with Mask Guidance for Interactive
Segmentation" (arXiv 2102.06583): a click lies as deep as it can inside what it corrects.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from grounding.errors import GeometryError

__all__ = [
    "Clicks",
    "box_click",
    "click_square",
    "deepest_pixel",
    "depth",
    "first_click",
    "iou",
    "next_click",
    "noc",
    "simulate",
]

Bitmap = Bool[np.ndarray, "height width"]
Predict = Callable[["Clicks"], Bitmap]

SOFTNESS = 0.35  # h of Pham et al., arXiv 2106.14033, section 3; kornia's default
SIDE_WEIGHT = math.exp(-1 / SOFTNESS)
CORNER_WEIGHT = math.exp(-math.sqrt(2) / SOFTNESS)
SIDES = ((-1, 0), (0, -1), (0, 1), (1, 0))  # steps in y and x
CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
GOOD_ENOUGH = 0.925  # IoU from which SEEM's evaluation adds no more clicks
ROUNDS = 20  # clicks after which the NoC protocol gives up
IOU_EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """All clicks on one object up to now, painted as 3x3 squares on the canvas.

    Args:
        positive: pixels of clicks on the object, `[height, width]`.
        negative: pixels of clicks beside it, same shape.
        places: (y, x, 1 on the object or 0 beside it) of each, in the order in which they were
            made, for those who ask by coordinates.
    """

    positive: Bitmap
    negative: Bitmap
    places: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        _same_shape(self.positive, self.negative, "positive and negative clicks")


def depth(bitmap: Bitmap) -> Float[np.ndarray, "height width"]:
    """How deep each pixel lies inside the bitmap: about its distance to the nearest pixel outside.

    The soft distance transform of Pham et al., "A Differentiable Distance Transform" (arXiv
    2106.14033), with kernel 3: a front moves outwards ring by ring, and adds to the number of
    rings -h ln(sum of exp(-d/h)) over the pixels of the last ring at distance d = 1 or sqrt 2. A
    pixel's ring is its chessboard distance, so all rings are computed at once. Beyond the canvas
    all is outside.

    Returns:
        float64, 0 outside the bitmap, positive inside.
    """
    inside = np.pad(_bitmap(bitmap), 1).astype(np.uint8)
    ring = cv2.distanceTransform(inside, cv2.DIST_C, 3)
    framed = np.pad(ring, 1, mode="edge")  # the border is outside anyway: ring 0
    height, width = ring.shape

    def nearer(steps: Sequence[tuple[int, int]]) -> np.ndarray:
        """Count the neighbours that the front reached before."""
        count = np.zeros(ring.shape, np.uint8)
        for dy, dx in steps:
            count += framed[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] < ring
        return count

    # Counted, not summed pixel by pixel: neighbourhoods that are mirror images tie exactly.
    reached = nearer(SIDES) * SIDE_WEIGHT + nearer(CORNERS) * CORNER_WEIGHT
    distance = np.zeros(ring.shape)
    within = ring > 0
    distance[within] = ring[within] - 1 - SOFTNESS * np.log(reached[within])
    return distance[1:-1, 1:-1]


def deepest_pixel(bitmap: Bitmap) -> tuple[int, int] | None:
    """Return the (y, x) that lies deepest inside, the first in reading order; None if all False."""
    bitmap = _bitmap(bitmap)
    if not bitmap.any():
        return None
    rows, columns = np.flatnonzero(bitmap.any(axis=1)), np.flatnonzero(bitmap.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    part = depth(bitmap[top : rows[-1] + 1, left : columns[-1] + 1])
    y, x = np.unravel_index(int(part.argmax()), part.shape)
    return top + int(y), left + int(x)


def click_square(place: tuple[int, int], shape: tuple[int, int]) -> Bitmap:
    """Paint a click: the 3x3 pixels around (y, x), as far as they lie on the canvas.

    Raises:
        GeometryError: the place lies outside.
    """
    (y, x), (height, width) = place, shape
    if not (0 <= y < height and 0 <= x < width):
        raise GeometryError(
            f"a click must lie on the canvas of {height} rows and {width} columns; "
            f"got row {y}, column {x}"
        )
    painted = np.zeros(shape, bool)
    painted[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = True
    return painted


def box_click(box: Sequence[float], shape: tuple[int, int]) -> Bitmap:
    """The official meaning of a box: a click at its deepest pixel.

    Args:
        box: xyxy in pixels, ends exclusive; fractions of a pixel are cut off.
        shape: (height, width) of the canvas.

    Raises:
        GeometryError: no pixel of the canvas lies in the box.
    """
    left, top, right, bottom = (max(0, int(side)) for side in box)
    filled = np.zeros(shape, bool)
    filled[top:bottom, left:right] = True
    place = deepest_pixel(filled)
    if place is None:
        raise GeometryError(
            f"the box must hold a pixel of the canvas of {shape[0]} rows and {shape[1]} columns, "
            f"as x0, y0, x1, y1 in pixels; got {', '.join(f'{side:g}' for side in box)}"
        )
    return click_square(place, shape)


def first_click(truth: Bitmap) -> Clicks:
    """Click where the object is deepest.

    Raises:
        GeometryError: the object has no pixel.
    """
    place = deepest_pixel(truth)
    if place is None:
        raise GeometryError("an object without a pixel cannot be clicked; leave empty masks out")
    square = click_square(place, truth.shape)
    return Clicks(positive=square, negative=np.zeros_like(truth), places=((*place, 1),))


def next_click(truth: Bitmap, prediction: Bitmap, clicks: Clicks) -> Clicks:
    """Add the click that corrects the larger kind of mistake, at its deepest pixel.

    What the object lacks gets a positive click if it is larger than what the prediction has too
    much, else the latter a negative one. Earlier clicks do not count as mistakes. A prediction of
    IoU >= 0.925, or one whose mistakes are all clicked already, gets none.

    Args:
        truth: the object, `[height, width]`.
        prediction: what was found up to now, same shape.
        clicks: what was said up to now.

    Returns:
        The earlier clicks and the new one.
    """
    _same_shape(truth, prediction, "truth and prediction")
    _same_shape(truth, clicks.positive, "truth and clicks")
    if iou(truth, prediction) >= GOOD_ENOUGH:
        return clicks
    open_ = ~(clicks.positive | clicks.negative)
    missing, extra = truth & ~prediction & open_, ~truth & prediction & open_
    positive = bool(missing.sum() > extra.sum())
    place = deepest_pixel(missing if positive else extra)
    if place is None:
        return clicks
    square = click_square(place, truth.shape)
    places = (*clicks.places, (*place, int(positive)))
    if positive:
        return Clicks(positive=clicks.positive | square, negative=clicks.negative, places=places)
    return Clicks(positive=clicks.positive, negative=clicks.negative | square, places=places)


def iou(first: Bitmap, second: Bitmap) -> float:
    """Intersection over union; 0 if both are empty, as in SEEM's evaluation."""
    _same_shape(first, second, "the bitmaps")
    return float((first & second).sum() / ((first | second).sum() + IOU_EPSILON))


def simulate(predict: Predict, truth: Bitmap, *, rounds: int = ROUNDS) -> list[float]:
    """Click on one object until it is found, or the rounds are over.

    Args:
        predict: the new prediction, given all clicks; what it remembers of its earlier ones is
            its own affair.
        truth: the object.
        rounds: clicks at most, at least 1.

    Returns:
        The IoU after each click; the last one is 0.925 or more if no further clicks were needed.
    """
    clicks = first_click(truth)
    reached: list[float] = []
    for _ in range(rounds):
        prediction = predict(clicks)
        reached.append(iou(truth, prediction))
        if reached[-1] >= GOOD_ENOUGH:
            break
        clicks = next_click(truth, prediction, clicks)
    return reached


def noc(reached: Sequence[float], threshold: float, *, rounds: int = ROUNDS) -> int:
    """The number of clicks that reach an IoU; `rounds` if none does.

    Args:
        reached: IoU after each click, as `simulate` returns them.
        threshold: such as 0.85 or 0.9.
        rounds: what an object that is never found costs.
    """
    return next(
        (count for count, value in enumerate(reached[:rounds], 1) if value >= threshold), rounds
    )


def _bitmap(bitmap: np.ndarray) -> np.ndarray:
    if bitmap.ndim != 2 or not bitmap.size or bitmap.dtype != bool:
        raise GeometryError(
            "a bitmap is an array of bools [height, width] and not empty; "
            f"got {bitmap.dtype} {bitmap.shape}"
        )
    return bitmap


def _same_shape(first: np.ndarray, second: np.ndarray, what: str) -> None:
    if _bitmap(first).shape != _bitmap(second).shape:
        raise GeometryError(
            f"{what} must have one shape; got {first.shape} and {second.shape}, "
            "pad or crop to one canvas first"
        )
