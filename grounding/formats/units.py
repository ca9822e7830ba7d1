"""Pixels or fractions? Declared, or recognised where only one reading makes sense."""

from collections.abc import Iterable, Sequence
from typing import Literal

from grounding.errors import GeometryError, PromptError
from grounding.geometry import (
    Box,
    Size,
    check_xyxy,
    normalized_to_pixels,
    pixels_to_normalized,
    xywh_to_xyxy,
    xyxy_to_xywh,
)
from grounding.jsonfile import describe

__all__ = ["Units", "box_from", "boxes_from_unknown", "needs_canvas", "to_pixels"]

Units = Literal["auto", "normalized", "pixel"]

PIXEL_SLACK = 0.01  # COCO rounds to hundredths of a pixel
NORMALIZED_SLACK = 1e-6  # rounding of a division, no more
PIXEL_DIGITS = 6  # written pixels; coarser than float noise, finer than any pixel

CURE = "declare them (--units pixel or --units normalized)"


def boxes_from_unknown(
    boxes: Sequence[tuple[str, Box]], units: Units, canvas: Size | None
) -> list[Box]:
    """Normalise the xyxy boxes of one file whose format does not say its units.

    All boxes of a file share one unit. Fractions are recognised when no value exceeds 1; pixels
    when the canvas is known, every value is whole or above 2, and every box reaches beyond 2. A
    file that mixes both kinds, or fits neither, is refused.

    Args:
        boxes: (where in the file, xyxy box) pairs.
        units: what was declared.
        canvas: `(width, height)` that pixels refer to, if known.

    Raises:
        PromptError: ambiguous units, or a box out of order or outside the canvas.
    """
    for where, box in boxes:
        _check(box, where)
    if units == "auto":
        units = _recognise(boxes, canvas)
    return [box_from(box, units, canvas, where) for where, box in boxes]


def box_from(
    box: Box,
    units: Units,
    canvas: Size | None,
    where: str,
    layout: Literal["xyxy", "xywh"] = "xyxy",
) -> Box:
    """Normalise one box of known units to xyxy in [0, 1].

    Raises:
        PromptError: its corners are out of order, or it leaves the canvas.
    """
    if layout == "xywh":
        for value, name in ((box[2], "width"), (box[3], "height")):
            if value <= 0:
                raise PromptError(f"{where}: the {name} must be above 0, got {value:g}")
        box = xywh_to_xyxy(box)
    _check(box, where)
    if units == "pixel":
        size = needs_canvas(canvas, where)
        limits, slack = (float(size[0]), float(size[1])), PIXEL_SLACK
        name = f"the canvas of {size[0]}x{size[1]} pixels"
    else:
        size, limits, slack, name = (1, 1), (1.0, 1.0), NORMALIZED_SLACK, "the canvas, 0 to 1"
    clipped = [_inside(value, limits[i % 2], slack) for i, value in enumerate(box)]
    if None in clipped:
        shown = ", ".join(f"{value:g}" for value in box)
        hint = "" if units == "pixel" or max(box) <= 2 else ", or declare --units pixel"
        raise PromptError(f"{where}: [{shown}] leaves {name}; clip it{hint}")
    x0, y0, x1, y1 = (value for value in clipped if value is not None)
    return _check(pixels_to_normalized((x0, y0, x1, y1), size), where)


def to_pixels(values: Iterable[float], canvas: Size) -> list[float]:
    """Turn normalised x, y, x, y, ... into pixels, rounded so that whole pixels stay whole."""
    pixels = (round(value * canvas[i % 2], PIXEL_DIGITS) for i, value in enumerate(values))
    return [int(value) if value.is_integer() else value for value in pixels]


def box_to_xywh_pixels(box: Box, canvas: Size) -> list[float]:
    """Turn a normalised xyxy box into xywh pixels, rounded so that whole pixels stay whole."""
    pixels = xyxy_to_xywh(normalized_to_pixels(box, canvas))
    rounded = (round(value, PIXEL_DIGITS) for value in pixels)
    return [int(value) if value.is_integer() else value for value in rounded]


def _recognise(boxes: Sequence[tuple[str, Box]], canvas: Size | None) -> Units:
    small = [(where, box) for where, box in boxes if max(box) <= 1]
    large = [(where, box) for where, box in boxes if max(box) > 1]
    if not large:
        return "normalized"  # as pixels, such a box would be one pixel
    if small:
        raise PromptError(
            f"{small[0][0]} looks normalised and {large[0][0]} looks like pixels; "
            f"use one unit, or {CURE}"
        )
    for where, box in large:
        if max(box) <= 2 or not all(value > 2 or value.is_integer() for value in box):
            raise PromptError(
                f"{where}: {describe(list(box))} could be pixels or a normalised box that leaves "
                f"the canvas; {CURE}"
            )
    needs_canvas(canvas, large[0][0])
    return "pixel"


def needs_canvas(canvas: Size | None, where: str) -> Size:
    """Return the canvas that pixels refer to.

    Raises:
        PromptError: it is not known.
    """
    if canvas is None:
        raise PromptError(
            f"{where}: pixels need the size of their canvas; give it (--width and --height), "
            "or divide the box by it"
        )
    return canvas


def _check(box: Box, where: str) -> Box:
    try:
        return check_xyxy(box, where)
    except GeometryError as error:
        raise PromptError(str(error)) from None


def _inside(value: float, limit: float, slack: float) -> float | None:
    if not -slack <= value <= limit + slack:
        return None
    return min(max(value, 0.0), limit)
