"""LabelMe: shapes in pixels, joined into one region where they share label and group id.

Rectangles are boxes, polygons outlines, points clicks, lines strokes, masks bitmaps; circles and
turned rectangles (X-AnyLabeling's "rotation") become polygons. A shape that makes no sense costs
itself alone. A shape's flags are the region's true-or-false attributes; the flag `negative` marks
points and strokes that do not belong to it. Format: https://github.com/wkentaro/labelme
"""

import base64
import io
import math
from collections.abc import Callable, Mapping
from typing import Any

from grounding.errors import PromptError
from grounding.formats.annotation import clip_ring, image_size, read_box, told_or_seen
from grounding.formats.fields import as_list, as_numbers, as_object, as_text, needed
from grounding.formats.remarks import Remarks
from grounding.formats.units import PIXEL_SLACK, Units, to_pixels
from grounding.formats.written import Written, unsaid, written
from grounding.geometry import Size
from grounding.jsonfile import describe
from grounding.prompt import GroundedPrompt, Region
from grounding.region import MAX_SIDE

__all__ = ["read_labelme", "write_labelme"]

Xy = tuple[float, float]

VERSION = "5.5.0"  # of LabelMe's file format, as written
CIRCLE_VERTICES = 64
NEGATIVE = "negative"
SINGLE = ("box", "mask")  # of which a region has one
LEAST = {"rectangle": 2, "polygon": 3, "point": 1, "points": 1, "line": 2, "linestrip": 2}
TURNED = ("rotation", "oriented_rectangle", "quadrilateral")  # X-AnyLabeling's, LabelMe's


def read_labelme(
    data: Mapping[str, object],
    *,
    canvas: Size | None = None,
    units: Units = "auto",
    remarks: Remarks | None = None,
    read_size: Callable[[str], Size | None] | None = None,
) -> GroundedPrompt:
    """Read a LabelMe file.

    Args:
        data: parsed JSON.
        canvas: `(width, height)`, used if the file does not say its image's size.
        units: "normalized" if the points are fractions; otherwise pixels, as LabelMe has.
        remarks: notes what is left out or clipped.
        read_size: returns (width, height) of the picture of a name, or None; asked before `canvas`.

    Raises:
        PromptError: one line that names the entry.
    """
    remarks = Remarks() if remarks is None else remarks
    told = image_size(data, "imageWidth", "imageHeight")
    canvas = told_or_seen(told, data.get("imagePath"), read_size) or canvas
    if canvas is None and units != "normalized":
        raise PromptError(
            "imageWidth, imageHeight: are missing, and points are in pixels; add the image's size"
        )
    size = (1, 1) if units == "normalized" or canvas is None else canvas
    regions: list[dict[str, Any]] = []
    groups: dict[tuple[object, str], dict[str, Any]] = {}
    for index, value in enumerate(as_list(data["shapes"], "shapes")):
        where = f"shapes[{index}]"
        try:
            shape = as_object(value, where)
            label = as_text(needed(shape, "label", where), f"{where}.label")
            group, flags = shape.get("group_id"), shape.get("flags")
            flags = flags if isinstance(flags, Mapping) else {}
            geometry = _geometry(shape, where, size, bool(flags.get(NEGATIVE)), remarks)
        except PromptError as error:
            remarks.lose("a shape that makes no sense", str(error))
            continue
        region = groups.get((group, label)) if isinstance(group, (int, str)) else None
        if region is None or any(part in geometry and part in region for part in SINGLE):
            fresh: dict[str, Any] = {"phrase": label}
            region = fresh
            regions.append(region)
            if isinstance(group, (int, str)):
                groups[group, label] = region
        for key, item in geometry.items():
            region[key] = item if key in SINGLE else (*region.get(key, ()), *item)
        facts = {key: bool(flag) for key, flag in flags.items() if key != NEGATIVE}
        region["attributes"] = {**region.get("attributes", {}), **facts}
    document: dict[str, object] = {"regions": regions}
    if canvas is not None:
        document["canvas"] = {"width": canvas[0], "height": canvas[1]}
    if data.get("imagePath"):
        document["image"] = as_text(data["imagePath"], "imagePath")
    return GroundedPrompt.model_validate(document)


def write_labelme(prompt: GroundedPrompt, *, canvas: Size | None = None) -> Written:
    """Write shapes in pixels; a region of several shapes shares a group id.

    Args:
        prompt: the document.
        canvas: `(width, height)` in pixels; by default the document's.

    Raises:
        PromptError: neither says the size in pixels.
    """
    size = canvas or (prompt.canvas.size if prompt.canvas else None)
    if size is None:
        raise PromptError("LabelMe counts in pixels; give the document a canvas (width, height)")
    held = ("phrase", "box", "points", "strokes", "polygon", "attributes")
    dropped = unsaid(prompt, ("canvas", "image"), held)
    shapes: list[dict[str, object]] = []
    for index, region in enumerate(prompt.regions):
        facts = {key: value for key, value in region.attributes.items() if value in (True, False)}
        facts = {key: value for key, value in facts.items() if isinstance(value, bool)}
        dropped += [f"regions[{index}].attributes.{k}" for k in region.attributes if k not in facts]
        dropped += [f"regions[{index}].strokes' width" for s in region.strokes if s.width != 0.02]
        parts = _parts(region, size)
        if not parts:
            dropped.append(f"regions[{index}], which has no shape")
        for kind, points, negative in parts:
            shapes.append(
                {
                    "label": region.phrase,
                    "points": points,
                    "group_id": index + 1 if len(parts) > 1 else None,
                    "description": "",
                    "shape_type": kind,
                    "flags": facts | ({NEGATIVE: True} if negative else {}),
                }
            )
    content = {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": prompt.image or "",
        "imageData": None,
        "imageHeight": size[1],
        "imageWidth": size[0],
    }
    return written(content, dropped, "LabelMe")


def _geometry(
    shape: Mapping[str, object], where: str, size: Size, negative: bool, remarks: Remarks
) -> dict[str, Any]:
    kind = as_text(shape.get("shape_type") or "polygon", f"{where}.shape_type")
    listed = as_list(needed(shape, "points", where), f"{where}.points")
    pairs = [as_numbers(xy, 2, f"{where}.points[{i}]") for i, xy in enumerate(listed)]
    points = [(x, y) for x, y in pairs]
    if kind == "mask":
        return _mask(shape, points, where, size)
    kind, points = _plain(kind, points, where)
    if kind == "rectangle":  # LabelMe lets people drag from any corner
        xs, ys = [x for x, _ in points], [y for _, y in points]
        sides = {"bbox": [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]}
        return {"box": read_box(sides, where, size, remarks)}
    placed = [(x / size[0], y / size[1]) for x, y in points]
    slack = (PIXEL_SLACK / size[0], PIXEL_SLACK / size[1])
    if any(not -slack[k] <= xy[k] <= 1 + slack[k] for xy in placed for k in (0, 1)):
        remarks.change("a shape clipped to its picture", f"{where}.points")
    if kind == "polygon":
        ring = clip_ring(placed)
        if len(ring) < 3:
            raise PromptError(f"{where}.points: lie outside the canvas")
        return {"polygon": (ring,)}
    placed = [(min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)) for x, y in placed]
    label = {"label": 0} if negative else {}
    if kind in ("point", "points"):
        return {"points": tuple({"xy": xy, **label} for xy in placed)}
    return {"strokes": ({"xy": placed, **label},)}


def _plain(kind: str, points: list[Xy], where: str) -> tuple[str, list[Xy]]:
    """A shape as one of the kinds of `LEAST`."""
    if kind == "circle" and len(points) == 2:
        kind, points = "polygon", _circle(points)
    elif kind in TURNED and len(points) == 4:
        kind = "polygon"
    if kind not in LEAST:
        raise PromptError(
            f"{where}.shape_type: cannot read {describe(kind)} of {len(points)} points; "
            f"expected one of {', '.join(LEAST)}, circle, mask, {', '.join(TURNED)}"
        )
    if len(points) < LEAST[kind]:
        raise PromptError(
            f"{where}.points: a {kind} needs at least {LEAST[kind]}, got {len(points)}"
        )
    return kind, points


def _mask(shape: Mapping[str, object], points: list[Xy], where: str, size: Size) -> dict[str, Any]:
    """A bitmap: a PNG in base64, whose first and last pixel lie at the two points."""
    import numpy as np

    from grounding.masks import bitmap_to_box, bitmap_to_rle
    from grounding.picture_file import open_upright

    text = as_text(needed(shape, "mask", where), f"{where}.mask")
    try:
        image = open_upright(io.BytesIO(base64.b64decode(text)))
    except ValueError:  # base64's and ours
        raise PromptError(f"{where}.mask: expected a PNG in base64") from None
    bitmap = np.asarray(image.convert("L")) > 0
    if not points or size == (1, 1):
        raise PromptError(f"{where}.points: a mask needs its place in pixels")
    left, top = (int(min(xy[axis] for xy in points)) for axis in (0, 1))
    if not (abs(left) <= MAX_SIDE and abs(top) <= MAX_SIDE):
        raise PromptError(f"{where}.points: lie outside the canvas")
    whole = np.zeros(size[::-1], bool)
    bottom, right = max(top + bitmap.shape[0], 0), max(left + bitmap.shape[1], 0)
    here = whole[max(top, 0) : bottom, max(left, 0) : right]
    part = bitmap[max(-top, 0) :, max(-left, 0) :]
    here[:] = part[: here.shape[0], : here.shape[1]]
    box = bitmap_to_box(whole)
    if box is None:
        raise PromptError(f"{where}.mask: marks no pixel of the canvas")
    return {"mask": bitmap_to_rle(whole), "box": box}


def _circle(points: list[Xy]) -> list[Xy]:
    (x, y), (edge_x, edge_y) = points
    radius = math.hypot(edge_x - x, edge_y - y)
    angles = (2 * math.pi * i / CIRCLE_VERTICES for i in range(CIRCLE_VERTICES))
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def _parts(region: Region, size: Size) -> list[tuple[str, list[list[float]], bool]]:
    """List a region's shapes: (shape type, points in pixels, whether negative)."""

    def place(points: tuple[tuple[float, float], ...]) -> list[list[float]]:
        return [to_pixels(xy, size) for xy in points]

    parts: list[tuple[str, list[list[float]], bool]] = []
    if region.box is not None:
        parts.append(("rectangle", place((region.box[:2], region.box[2:])), False))
    parts += [("polygon", place(ring), False) for ring in region.polygon]
    parts += [("point", place((point.xy,)), not point.label) for point in region.points]
    parts += [("linestrip", place(stroke.xy), not stroke.label) for stroke in region.strokes]
    return parts
