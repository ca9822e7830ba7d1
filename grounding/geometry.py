"""Boxes and canvases: conversions named for both sides, and exact maps between canvases.

A box is four floats. `xyxy` is `(x0, y0, x1, y1)`, `xywh` is `(x0, y0, width, height)`, `cxcywh` is
`(centre x, centre y, width, height)`; x to the right, y down, origin at the top left. Sizes are
`(width, height)` in pixels.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from grounding.errors import GeometryError

__all__ = [
    "Box",
    "CanvasMap",
    "Size",
    "box_area",
    "box_intersection",
    "box_iou",
    "box_union",
    "check_xyxy",
    "clip_xyxy",
    "crop",
    "cxcywh_to_xyxy",
    "letterbox",
    "normalized_to_percent",
    "normalized_to_pixels",
    "order_flaw",
    "pad",
    "percent_to_normalized",
    "pixels_to_normalized",
    "resize",
    "xywh_to_xyxy",
    "xyxy_to_cxcywh",
    "xyxy_to_xywh",
]

Box = tuple[float, float, float, float]
Size = tuple[int, int]


def xywh_to_xyxy(box: Box) -> Box:
    """Convert corner and size to two corners."""
    x, y, width, height = box
    return x, y, x + width, y + height


def xyxy_to_xywh(box: Box) -> Box:
    """Convert two corners to corner and size."""
    x0, y0, x1, y1 = box
    return x0, y0, x1 - x0, y1 - y0


def cxcywh_to_xyxy(box: Box) -> Box:
    """Convert centre and size to two corners."""
    x, y, width, height = box
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def xyxy_to_cxcywh(box: Box) -> Box:
    """Convert two corners to centre and size."""
    x0, y0, x1, y1 = box
    return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0


def pixels_to_normalized(box: Box, size: Size) -> Box:
    """Divide a box of pixels, xyxy or xywh, by the canvas `(width, height)`."""
    width, height = _checked(size)
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def normalized_to_pixels(box: Box, size: Size) -> Box:
    """Multiply a normalised box, xyxy or xywh, by the canvas `(width, height)`; not rounded."""
    width, height = _checked(size)
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def percent_to_normalized(box: Box) -> Box:
    """Convert percentages of the canvas (Label Studio) to fractions."""
    return box[0] / 100, box[1] / 100, box[2] / 100, box[3] / 100


def normalized_to_percent(box: Box) -> Box:
    """Convert fractions of the canvas to percentages."""
    return box[0] * 100, box[1] * 100, box[2] * 100, box[3] * 100


def check_xyxy(box: Box, name: str = "box") -> Box:
    """Return the box if its corners are finite and in order.

    Raises:
        GeometryError: a coordinate is NaN or infinite, or x1 <= x0, or y1 <= y0.
    """
    for value in box:
        if not math.isfinite(value):
            raise GeometryError(f"{name}: expected finite coordinates, got {value}")
    flaw = order_flaw(box)
    if flaw is not None:
        raise GeometryError(f"{name}: {flaw}")
    return box


def order_flaw(box: Box) -> str | None:
    """Say what is wrong with the order of a box's corners and how to mend it; None: nothing."""
    for low, high, axis in ((box[0], box[2], "x"), (box[1], box[3], "y")):
        if not low < high:
            cure = "swap them" if low > high else "a box needs an extent"
            if min(box[2:]) > 0:
                corners = ", ".join(f"{value:.6g}" for value in xywh_to_xyxy(box))
                cure += f", or, if [x, y, width, height] was meant, write [{corners}]"
            return (
                f"{axis}0 must be below {axis}1, got {low:g} and {high:g}; {cure}; a box is "
                "[x0, y0, x1, y1]"
            )
    return None


def box_area(box: Box) -> float:
    """Return the area of an xyxy box; 0 if its corners are out of order."""
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def box_intersection(a: Box, b: Box) -> Box | None:
    """Return the xyxy box that both share, or None where they do not overlap."""
    shared = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return shared if shared[0] < shared[2] and shared[1] < shared[3] else None


def box_union(a: Box, b: Box) -> Box:
    """Return the smallest xyxy box around both."""
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def box_iou(a: Box, b: Box) -> float:
    """Return intersection over union of two xyxy boxes, 0 to 1; 0 for two empty ones."""
    shared = box_intersection(a, b)
    common = box_area(shared) if shared else 0.0
    total = box_area(a) + box_area(b) - common
    return common / total if total > 0 else 0.0


def clip_xyxy(box: Box, limits: Box = (0.0, 0.0, 1.0, 1.0)) -> Box | None:
    """Cut an xyxy box to the limits (by default the normalised canvas); None if nothing is left."""
    return box_intersection(box, limits)


@dataclass(frozen=True)
class CanvasMap:
    """Where each place of one canvas lies on another: `target = source * scale + offset`, per axis.

    Scale and offset are rational numbers, so inverses and compositions are exact:
    `m.then(m.inverse())` *is* the identity. Coordinates are in pixels, as real numbers from the
    canvas's corner (a pixel's centre is at .5), and may fall outside the target.
    """

    source: Size
    target: Size
    scale: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1))
    offset: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Map pixel coordinates on the source to pixel coordinates on the target."""
        return (
            float(Fraction(x) * self.scale[0] + self.offset[0]),
            float(Fraction(y) * self.scale[1] + self.offset[1]),
        )

    def box(self, box: Box) -> Box:
        """Map an xyxy box in pixels."""
        return (*self.point(box[0], box[1]), *self.point(box[2], box[3]))

    def normalized_box(self, box: Box) -> Box:
        """Map a box normalised on the source to one normalised on the target; not clipped."""
        (w0, h0), (w1, h1) = self.source, self.target
        x0, y0, x1, y1 = (
            float((Fraction(value) * sides[0] * self.scale[axis] + self.offset[axis]) / sides[1])
            for value, axis, sides in zip(
                box, (0, 1, 0, 1), ((w0, w1), (h0, h1), (w0, w1), (h0, h1)), strict=True
            )
        )
        return x0, y0, x1, y1

    def placed(self) -> Box:
        """Return where the whole source canvas lands: an xyxy box in target pixels."""
        return self.box((0, 0, *self.source))

    def inverse(self) -> "CanvasMap":
        """Return the map back."""
        (sx, sy), (ox, oy) = self.scale, self.offset
        return CanvasMap(self.target, self.source, (1 / sx, 1 / sy), (-ox / sx, -oy / sy))

    def then(self, after: "CanvasMap") -> "CanvasMap":
        """Return this map followed by another.

        Raises:
            GeometryError: the other map does not start where this one ends.
        """
        if after.source != self.target:
            raise GeometryError(
                f"maps do not join: the first ends on {self.target[0]}x{self.target[1]}, "
                f"the second starts on {after.source[0]}x{after.source[1]}"
            )
        (sx, sy), (ox, oy), (tx, ty) = self.scale, self.offset, after.scale
        offset = (ox * tx + after.offset[0], oy * ty + after.offset[1])
        return CanvasMap(self.source, after.target, (sx * tx, sy * ty), offset)


def resize(source: Size, target: Size) -> CanvasMap:
    """Return the map that stretches one canvas onto another."""
    (w0, h0), (w1, h1) = _checked(source), _checked(target)
    return CanvasMap((w0, h0), (w1, h1), (Fraction(w1, w0), Fraction(h1, h0)))


def crop(source: Size, left: int, top: int, width: int, height: int) -> CanvasMap:
    """Return the map onto a window of the canvas, in whole pixels.

    Raises:
        GeometryError: the window does not lie inside the canvas.
    """
    w, h = _checked(source)
    if width < 1 or height < 1 or left < 0 or top < 0 or left + width > w or top + height > h:
        raise GeometryError(
            f"the crop {width}x{height} at ({left}, {top}) must lie inside the canvas {w}x{h}"
        )
    return CanvasMap((w, h), (width, height), offset=(Fraction(-left), Fraction(-top)))


def pad(source: Size, left: int, top: int, right: int, bottom: int) -> CanvasMap:
    """Return the map onto a canvas with margins, in whole pixels.

    Raises:
        GeometryError: a margin is negative.
    """
    w, h = _checked(source)
    if min(left, top, right, bottom) < 0:
        raise GeometryError(
            f"margins must not be negative, got {(left, top, right, bottom)}; use crop"
        )
    target = (w + left + right, h + top + bottom)
    return CanvasMap((w, h), target, offset=(Fraction(left), Fraction(top)))


def letterbox(source: Size, target: Size) -> CanvasMap:
    """Return the map that fits a canvas into another, aspect kept to the pixel, centred.

    The picture is resized to whole pixels first (at least one), then padded: its place is
    `placed()`, and the scales of the two axes are those of these whole pixels.
    """
    (w0, h0), (w1, h1) = _checked(source), _checked(target)
    if w1 * h0 <= h1 * w0:  # the width decides
        inner = (w1, max(1, (2 * h0 * w1 + w0) // (2 * w0)))
    else:
        inner = (max(1, (2 * w0 * h1 + h0) // (2 * h0)), h1)
    left, top = (w1 - inner[0]) // 2, (h1 - inner[1]) // 2
    right, bottom = w1 - inner[0] - left, h1 - inner[1] - top
    return resize((w0, h0), inner).then(pad(inner, left, top, right, bottom))


def _checked(size: Size) -> Size:
    width, height = size
    if width < 1 or height < 1:
        raise GeometryError(
            f"a canvas needs a positive width and height, got {width}x{height} pixels"
        )
    return size
