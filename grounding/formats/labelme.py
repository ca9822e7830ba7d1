"""LabelMe: shapes in pixels, joined into one region where they share label and group id.

Rectangles are boxes, polygons outlines, points clicks, lines strokes; circles become polygons.
A shape's flags are the region's true-or-false attributes; the flag `negative` marks points and
strokes that do not belong to it. Format: https://github.com/wkentaro/labelme
"""

import math
from collections.abc import Mapping
from typing import Any

from grounding.errors import PromptError
from grounding.formats.fields import as_list, as_numbers, as_object, as_text, as_whole, needed
from grounding.formats.units import Units, box_from, from_pixels, to_pixels
from grounding.formats.written import Written, unsaid, written
from grounding.geometry import Size
from grounding.jsonfile import describe
from grounding.prompt import GroundedPrompt, Region

__all__ = ["read_labelme", "write_labelme"]

VERSION = "5.5.0"  # of LabelMe's file format, as written
CIRCLE_VERTICES = 64
NEGATIVE = "negative"


def read_labelme(
    data: Mapping[str, object], *, canvas: Size | None = None, units: Units = "auto"
) -> GroundedPrompt:
    """Read a LabelMe file.

    Args:
        data: parsed JSON.
        canvas: `(width, height)`, used if the file does not say its image's size.
        units: "normalized" if the points are fractions; otherwise pixels, as LabelMe has.

    Raises:
        PromptError: one line that names the entry.
    """
    if data.get("imageWidth") is not None and data.get("imageHeight") is not None:
        canvas = (
            as_whole(data["imageWidth"], "imageWidth"),
            as_whole(data["imageHeight"], "imageHeight"),
        )
    if canvas is None and units != "normalized":
        raise PromptError(
            "imageWidth, imageHeight: are missing, and points are in pixels; add the image's size"
        )
    size = (1, 1) if units == "normalized" or canvas is None else canvas
    regions: list[dict[str, Any]] = []
    groups: dict[tuple[object, str], dict[str, Any]] = {}
    for index, value in enumerate(as_list(data["shapes"], "shapes")):
        where = f"shapes[{index}]"
        shape = as_object(value, where)
        label = as_text(needed(shape, "label", where), f"{where}.label")
        group = shape.get("group_id")
        flags = as_object(shape.get("flags") or {}, f"{where}.flags")
        geometry = _geometry(shape, where, size, bool(flags.get(NEGATIVE)))
        region = groups.get((group, label)) if isinstance(group, (int, str)) else None
        if region is None or ("box" in geometry and "box" in region):
            fresh: dict[str, Any] = {"phrase": label}
            region = fresh
            regions.append(region)
            if isinstance(group, (int, str)):
                groups[group, label] = region
        for key, item in geometry.items():
            region[key] = (*region.get(key, ()), *item) if key != "box" else item
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
    shape: Mapping[str, object], where: str, size: Size, negative: bool
) -> dict[str, Any]:
    kind = as_text(shape.get("shape_type", "polygon"), f"{where}.shape_type")
    listed = as_list(needed(shape, "points", where), f"{where}.points")
    points = [as_numbers(xy, 2, f"{where}.points[{i}]") for i, xy in enumerate(listed)]
    if kind == "circle" and len(points) == 2:
        points = _circle(points, size)
        kind = "polygon"
    least = {"rectangle": 2, "polygon": 3, "point": 1, "points": 1, "line": 2, "linestrip": 2}
    if kind not in least:
        raise PromptError(
            f"{where}.shape_type: cannot read {describe(kind)}; "
            f"expected one of {', '.join(least)}, circle"
        )
    if len(points) < least[kind]:
        raise PromptError(
            f"{where}.points: a {kind} needs at least {least[kind]}, got {len(points)}"
        )
    if kind == "rectangle":  # LabelMe lets people drag from any corner
        xs, ys = [x for x, _ in points], [y for _, y in points]
        corners = (min(xs), min(ys), max(xs), max(ys))
        return {"box": box_from(corners, "pixel", size, f"{where}.points")}
    placed = [from_pixels(xy, size, f"{where}.points[{i}]") for i, xy in enumerate(points)]
    label = {"label": 0} if negative else {}
    if kind in ("point", "points"):
        return {"points": tuple({"xy": xy, **label} for xy in placed)}
    if kind in ("line", "linestrip"):
        return {"strokes": ({"xy": placed, **label},)}
    return {"polygon": (placed,)}


def _circle(points: list[tuple[float, ...]], size: Size) -> list[tuple[float, ...]]:
    (x, y), (edge_x, edge_y) = points
    radius = math.hypot(edge_x - x, edge_y - y)
    angles = (2 * math.pi * i / CIRCLE_VERTICES for i in range(CIRCLE_VERTICES))
    return [
        (
            min(max(x + radius * math.cos(angle), 0.0), float(size[0])),
            min(max(y + radius * math.sin(angle), 0.0), float(size[1])),
        )
        for angle in angles
    ]


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
