"""What a user draws on an image, and the bitmaps that SEEM reads of it.

Axes: N points, V vertices of a stroke, H W the image, or the padded image, in pixels.

Marks are kept in normalised coordinates of the unpadded image, as in `grounding.region`, so that
they outlive any resizing. `pixel_marks` takes pixels of the original image in SAM's conventions
(https://github.com/facebookresearch/segment-anything, `SamPredictor.predict`), `region_marks` a
region of a document, and `draw` paints them on the image as the model sees it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from grounding.errors import GeometryError, PromptError
from grounding.geometry import Box
from grounding.masks import polygon_to_bitmap, rle_to_bitmap, strokes_to_bitmap
from grounding.region import Point, Region, Stroke
from seem.clicks import box_click, click_square
from seem.preprocess import ImageSize

__all__ = [
    "BoxMode",
    "Drawing",
    "Marks",
    "around",
    "check_box_mode",
    "draw",
    "outline",
    "pixel_marks",
    "region_marks",
    "resize_bitmap",
]

BoxMode = Literal["corners", "outline", "centre"]
OUTLINE_GAP = 2  # pixels from a box to the outer side of the line around it
BRUSH = 0.02  # of the longer side, as `grounding.region.Stroke`


@dataclass(frozen=True, kw_only=True, eq=False)
class Marks:
    """Everything that is drawn about one object.

    Attributes:
        points: Clicks on it, or beside it (label 0).
        strokes: Scribbles on it, or beside it (label 0).
        box: Normalised xyxy around it.
        mask: A bitmap over the whole image, of any size.
    """

    points: tuple[Point, ...] = ()
    strokes: tuple[Stroke, ...] = ()
    box: Box | None = None
    mask: Bool[np.ndarray, "H W"] | None = None

    def __bool__(self) -> bool:
        return bool(self.points or self.strokes) or self.box is not None or self.mask is not None

    @property
    def positive(self) -> bool:
        """Whether anything lies on the object, and not beside it."""
        drawn = any(mark.label for mark in (*self.points, *self.strokes))
        return drawn or self.box is not None or self.mask is not None


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawing:
    """Marks painted on the padded image.

    Attributes:
        positive: What the decoder is told to belong to the object.
        negative: What does not.
        evidence: The part of `positive` that was drawn by hand: not a click that stands for a box.
        counter_evidence: The part of `negative` that was: not the outline of a box.
    """

    positive: Bool[Tensor, "H W"]
    negative: Bool[Tensor, "H W"]
    evidence: Bool[Tensor, "H W"]
    counter_evidence: Bool[Tensor, "H W"]


def check_box_mode(mode: str) -> None:
    """Refuse an unknown meaning of boxes.

    Raises:
        PromptError: not "corners", "outline" or "centre".
    """
    if mode not in get_args(BoxMode):
        raise PromptError(f"box_mode must be one of {', '.join(get_args(BoxMode))}; got {mode!r}")


def pixel_marks(
    size: tuple[int, int],
    *,
    points: Any = None,
    labels: Any = None,
    box: Any = None,
    strokes: Sequence[Any] | None = None,
    stroke_labels: Any = None,
    mask: Any = None,
) -> Marks:
    """Marks in pixels of the original image.

    Args:
        size: (height, width) of the image.
        points: xy of clicks, [N, 2]: the pixel that holds x, y is clicked.
        labels: 1 on the object, 0 beside it, [N]; None: all 1.
        box: xyxy, in pixels; what lies beyond the image is cut off.
        strokes: Polylines, each the xy of its vertices, [V, 2].
        stroke_labels: 1 or 0 for each stroke; None: all 1.
        mask: A bitmap of the image's size: bools, or numbers 0 and 1.

    Raises:
        PromptError: what is drawn is no such thing, or lies outside of the image.
    """
    if points is None and labels is not None:
        raise PromptError("labels belong to points, but there are no points: give both or neither")
    if strokes is None and stroke_labels is not None:
        raise PromptError("stroke_labels belong to strokes: give both or neither")
    places = [] if points is None else _places(points, size, "points").tolist()
    lines = [_places(line, size, f"stroke {i}") for i, line in enumerate(strokes or ())]
    if strokes is not None and not lines:
        raise PromptError("strokes must hold at least one polyline; got none: leave them out")
    signs = _labels(labels, len(places), "labels", "points")
    line_signs = _labels(stroke_labels, len(lines), "stroke_labels", "strokes")
    return Marks(
        points=tuple(
            Point(xy=(x, y), label=sign) for (x, y), sign in zip(places, signs, strict=True)
        ),
        strokes=tuple(
            Stroke(xy=tuple(map(tuple, line.tolist())), width=BRUSH, label=sign)
            for line, sign in zip(lines, line_signs, strict=True)
        ),
        box=None if box is None else _box(box, size),
        mask=None if mask is None else _mask(mask, size),
    )


def region_marks(region: Region, size: tuple[int, int]) -> Marks:
    """What a region of a document says about where it is.

    Clicks and strokes come first: a mask, and the box around it, are then taken for the last
    answer, which they correct. A region that has none is its mask, else its polygon, else its box.

    Args:
        region: Of a document about the image.
        size: (height, width) of the image.

    Raises:
        PromptError: its mask has no pixel.
    """
    if region.points or region.strokes:
        box = region.box if region.mask is None else None
        return Marks(points=region.points, strokes=region.strokes, box=box)
    if region.mask is not None:
        bitmap = rle_to_bitmap(region.mask)
        if not bitmap.any():
            raise PromptError(f"region {region.id!r}: its mask is empty; mark a pixel, or drop it")
        return Marks(mask=bitmap)
    if region.polygon:
        return Marks(mask=polygon_to_bitmap(region.polygon, (size[1], size[0])))
    return Marks(box=region.box)


def draw(marks: Marks, size: ImageSize, *, box_mode: BoxMode) -> Drawing:
    """Paint marks on the image as the model sees it, with its padding.

    A click is a square of 3x3 pixels and a stroke a line, as in the official code. A box becomes a
    click at its deepest pixel, which is all that it means officially ("centre"); with "corners"
    and "outline" the click is painted only if nothing else lies on the object; "outline" also
    paints the pixels around the box as lying beside the object.
    """
    height, width = size.image
    signs = np.zeros((2, height, width), bool)  # beside the object, on it
    for point in marks.points:
        x, y = point.xy
        place = (min(int(y * height), height - 1), min(int(x * width), width - 1))
        signs[point.label] |= click_square(place, size.image)
    for sign in (0, 1):
        signs[sign] |= strokes_to_bitmap(marks.strokes, (width, height), label=sign)
    if marks.mask is not None:
        signs[1] |= resize_bitmap(marks.mask, (width, height))
    counter_evidence, evidence = signs.copy()
    if marks.box is not None and (box_mode == "centre" or not evidence.any()):
        x0, y0, x1, y1 = marks.box
        corners = [math.floor(x0 * width), math.floor(y0 * height)]
        corners += [math.ceil(x1 * width), math.ceil(y1 * height)]
        signs[1] |= box_click(corners, size.image)
    if marks.box is not None and box_mode == "outline":
        x0, y0, x1, y1 = marks.box
        signs[0] |= outline((x0 * width, y0 * height, x1 * width, y1 * height), size.image)
    return Drawing(
        positive=_padded(signs[1], size),
        negative=_padded(signs[0], size),
        evidence=_padded(evidence, size),
        counter_evidence=_padded(counter_evidence, size),
    )


def outline(box: Sequence[float], shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """The pixels just outside of a box: a line of one pixel, at a distance of one.

    Args:
        box: xyxy in pixels.
        shape: (height, width) of the canvas; what lies beyond it is not painted.
    """
    x0, y0 = math.floor(box[0]) - OUTLINE_GAP, math.floor(box[1]) - OUTLINE_GAP
    x1, y1 = math.ceil(box[2]) + OUTLINE_GAP, math.ceil(box[3]) + OUTLINE_GAP
    painted = np.zeros(shape, np.uint8)
    cv2.rectangle(painted, (x0, y0), (x1 - 1, y1 - 1), 1)
    return painted.astype(bool)


def around(mask: Bool[np.ndarray, "H W"]) -> tuple[int, int, int, int]:
    """The xyxy box around an object, ends exclusive.

    Raises:
        GeometryError: the mask is empty.
    """
    xs, ys = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not xs.size:
        raise GeometryError("there is no box around an empty mask; leave it out")
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


def _padded(bitmap: np.ndarray, size: ImageSize) -> Tensor:
    padded = torch.zeros(size.padded, dtype=torch.bool)
    padded[: bitmap.shape[0], : bitmap.shape[1]] = torch.from_numpy(bitmap)
    return padded


def resize_bitmap(bitmap: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring a bitmap to another (width, height); what is too small to be seen stays a pixel."""
    result = cv2.resize(bitmap.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
    if not result.any():
        result = cv2.resize(bitmap.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return result > 0


def _numbers(values: Any, what: str) -> np.ndarray:
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise PromptError(f"{what} must be numbers, in pixels; got {values!r:.60}") from None
    if not np.isfinite(numbers).all():
        raise PromptError(f"{what} must be finite numbers, in pixels; got NaN or infinity")
    return numbers


def _places(values: Any, size: tuple[int, int], what: str) -> np.ndarray:
    """Centres of the pixels that xy places lie in, normalised, [N, 2]."""
    places = _numbers(values, what)
    if places.ndim != 2 or places.shape[1] != 2 or not len(places):
        raise PromptError(
            f"{what} must be pairs x, y of shape [N, 2] with N >= 1; got the shape "
            f"{list(places.shape)}"
        )
    height, width = size
    outside = ((places < 0) | (places >= (width, height))).any(1)
    if outside.any():
        x, y = places[outside][0]
        raise PromptError(
            f"{what} must lie on the image of {width} x {height} pixels (x < {width}, "
            f"y < {height}); got x={x:g}, y={y:g}"
        )
    return (np.floor(places) + 0.5) / (width, height)


def _labels(values: Any, count: int, name: str, owners: str) -> list[Any]:
    if values is None:
        return [1] * count
    labels = _numbers(values, name)
    if labels.shape != (count,) or not np.isin(labels, (0, 1)).all():
        raise PromptError(
            f"{name} must be 1 (on the object) or 0 (beside it), one for each of the {count} "
            f"{owners}; got {labels.tolist()!r:.60}"
        )
    return labels.astype(int).tolist()


def _box(values: Any, size: tuple[int, int]) -> Box:
    corners = _numbers(values, "box")
    if corners.shape != (4,):
        raise PromptError(
            f"a box is x0, y0, x1, y1; got the shape {list(corners.shape)}: ask about each box by "
            "itself"
        )
    height, width = size
    x0, y0, x1, y1 = corners.tolist()
    said = f"got {x0:g}, {y0:g}, {x1:g}, {y1:g}"
    if not (x0 < x1 and y0 < y1):
        raise PromptError(f"a box needs x0 < x1 and y0 < y1; {said}: sort its corners")
    x0, x1 = (min(max(x, 0), width) / width for x in (x0, x1))
    y0, y1 = (min(max(y, 0), height) / height for y in (y0, y1))
    if not (x0 < x1 and y0 < y1):
        raise PromptError(f"a box must overlap the image of {width} x {height} pixels; {said}")
    return x0, y0, x1, y1


def _mask(values: Any, size: tuple[int, int]) -> np.ndarray:
    mask = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    if mask.shape != size:
        raise PromptError(
            f"a mask must have the image's shape [{size[0]}, {size[1]}]; got {list(mask.shape)}"
        )
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise PromptError("a mask must be bools, or numbers 0 and 1; compare it with a threshold")
    if not mask.any():
        raise PromptError("a mask must mark at least one pixel; got an empty one: leave it out")
    return mask.astype(bool)
