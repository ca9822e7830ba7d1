"""Overlays that people look at: boxes, masks, strokes, points, landmarks and their labels."""

import math
from collections.abc import Callable, Iterable

import cv2
import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw

from grounding.geometry import Box, box_area
from grounding.labels import draw_labels
from grounding.masks import polygon_to_bitmap, rle_to_bitmap
from grounding.palette import (
    HALO_ALPHA,
    INK,
    NEGATIVE,
    PALETTE,
    PAPER,
    POSITIVE,
    Color,
    region_color,
)
from grounding.prompt import GroundedPrompt, Point, Region, Stroke
from grounding.scale import Scale

__all__ = ["PALETTE", "draw_found", "draw_regions", "region_color"]

FILL_ALPHA = 96
STROKE_ALPHA = 190
LARGEST_SIDE = 4096  # pixels; no picture is enlarged beyond
ROUNDING = 8  # times a mask is enlarged before its outline is round enough
STAIR = 0.6  # of an enlarged pixel: deviation of the blur that rounds outlines
SUPERSAMPLING_AREA = 2048 * 2048  # pixels; larger pictures are smooth enough without

# The bones between COCO's 17 joints.
BONES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12),
    (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip


def draw_regions(
    image: Image.Image,
    prompt: GroundedPrompt,
    *,
    min_side: int = 512,
    labels: bool = True,
    check: Callable[[], None] = lambda: None,
) -> Image.Image:
    """Draw a document's regions over a picture of its canvas.

    Small pictures are enlarged by a whole factor first, so that labels can be read.

    Args:
        image: any mode; transparency is laid on white. It is not changed.
        prompt: whose regions to draw, those with a higher `z` on top.
        min_side: pixels that the shorter side of the result has at least, unless the longer one
            would then have more than 4096.
        labels: whether to write phrase (or id) and score beside each region.
        check: called between the steps; may raise.

    Returns:
        A new RGB image.
    """
    picture, scale, over = _enlarged(image, min_side)
    order = sorted(enumerate(prompt.regions), key=lambda item: item[1].z)
    for index, region in order:
        check()
        _fill(picture, region, region_color(index), scale.line / over)
    layer = Image.new("RGBA", (scale.width, scale.height), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    for index, region in order:
        check()
        if region.strokes:
            layer = _strokes(layer, region.strokes, region_color(index), scale)
            pen = ImageDraw.Draw(layer)
        _outlines(pen, region, region_color(index), scale)
    if labels:
        draw_labels(pen, order, scale)
    return _laid(layer, picture)


def draw_found(
    image: Image.Image,
    found: GroundedPrompt,
    asked: Iterable[Region] = (),
    *,
    min_side: int = 512,
    labels: bool = True,
) -> Image.Image:
    """Draw what was found, and over it what was asked.

    Masks are tinted and outlined, smaller ones on top, their labels on them; a region without a
    mask shows its box. What was asked: clicks and strokes, green on the object and red beside it,
    and white boxes.

    Args:
        image: any mode; transparency is laid on white. It is not changed.
        found: the answer.
        asked: regions of the request.
        min_side: pixels that the shorter side of the result has at least, unless the longer one
            would then have more than 4096.
        labels: whether to write phrase (or id) and score on each region.

    Returns:
        A new RGB image.
    """
    picture, scale, over = _enlarged(image, min_side)
    order = sorted(enumerate(found.regions), key=lambda item: -_area(item[1]))
    for index, region in order:
        _fill(picture, region, region_color(index), max(1.0, scale.line / over / 2))
    layer = Image.new("RGBA", (scale.width, scale.height), (0, 0, 0, 0))
    for index, region in order:
        if region.mask is None and region.box is not None:
            _frame(ImageDraw.Draw(layer), region.box, region_color(index), scale)
    clicks: list[Box] = []
    for region in asked:
        if region.box is not None:
            _frame(ImageDraw.Draw(layer), region.box, PAPER, scale)
        for sign, color in ((1, POSITIVE), (0, NEGATIVE)):
            strokes = [s.replace(label=1) for s in region.strokes if s.label == sign]
            if strokes:
                layer = _strokes(layer, strokes, color, scale)
        pen = ImageDraw.Draw(layer)
        for point in region.points:
            _click(pen, point, POSITIVE if point.label else NEGATIVE, scale)
            (x, y), reach = scale.xy(point.xy), scale.line * 4
            clicks.append((x - reach, y - reach, x + reach, y + reach))
    if labels:
        draw_labels(ImageDraw.Draw(layer), order, scale, inside=True, clear=clicks)
    return _laid(layer, picture)


def _area(region: Region) -> float:
    """A fraction of the canvas."""
    if region.mask is not None:
        return sum(region.mask.runs()[1::2]) / math.prod(region.mask.size)
    return 0.0 if region.box is None else box_area(region.box)


def _enlarged(image: Image.Image, min_side: int) -> tuple[Image.Image, Scale, int]:
    """The picture, large enough; the sizes for its layer; how many times larger that is."""
    picture = _on_white(image)
    short, long = sorted(picture.size)
    factor = max(1, min(-(-min_side // short), LARGEST_SIDE // long))
    if factor > 1:
        size = (picture.width * factor, picture.height * factor)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    over = 2 if picture.width * picture.height <= SUPERSAMPLING_AREA else 1
    return picture, Scale.of(picture.size, over), over


def _laid(layer: Image.Image, picture: Image.Image) -> Image.Image:
    """Lay a layer on the picture."""
    if layer.size != picture.size:
        layer = _shrunk(layer, picture.size)
    picture.paste(layer, mask=layer.getchannel("A"))
    return picture


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGB", image.size, PAPER)
        paper.paste(layer, mask=layer.getchannel("A"))
        return paper
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _shrunk(layer: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Average a layer down; colours are weighted by alpha, so that edges stay clean."""
    pixels = np.asarray(layer, np.float32)
    alpha = pixels[..., 3:]
    pixels = np.concatenate([pixels[..., :3] * alpha, alpha], axis=-1)
    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    pixels[..., :3] /= np.maximum(pixels[..., 3:], 1e-6)
    return Image.fromarray(np.rint(np.clip(pixels, 0, 255)).astype(np.uint8), "RGBA")


def _fill(picture: Image.Image, region: Region, color: Color, line: float) -> None:
    """Tint the region's mask or polygon, with a firm outline."""
    if region.mask is not None:
        area = _rounded(rle_to_bitmap(region.mask), picture.size)
    elif region.polygon:
        area = polygon_to_bitmap(region.polygon, picture.size)
    else:
        return
    alpha = np.where(area, FILL_ALPHA, 0).astype(np.uint8)
    picture.paste(Image.new("RGB", picture.size, color), mask=Image.fromarray(alpha))
    contours, _ = cv2.findContours(area.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for shade, opacity, width in ((INK, HALO_ALPHA, line * 2), (color, 255, line)):
        edge = np.zeros(area.shape, np.uint8)
        cv2.drawContours(edge, contours, -1, (opacity,), max(1, round(width)), cv2.LINE_AA)
        picture.paste(Image.new("RGB", picture.size, shade), mask=Image.fromarray(edge))


def _rounded(bitmap: Bool[np.ndarray, "h w"], size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """A bitmap at another (width, height), without the staircase of one that is smaller."""
    height, width = bitmap.shape
    # Beyond ROUNDING a kernel that grows with the picture would cost minutes.
    between = (min(size[0], ROUNDING * width), min(size[1], ROUNDING * height))
    soft = cv2.resize(bitmap.astype(np.float32), between, interpolation=cv2.INTER_LINEAR)
    grown = max(between[0] / width, between[1] / height)
    if grown > 1:
        soft = cv2.GaussianBlur(soft, (0, 0), STAIR * grown)
    if between != size:
        soft = cv2.resize(soft, size, interpolation=cv2.INTER_LINEAR)
    return soft >= 0.5


def _strokes(
    layer: Image.Image, strokes: Iterable[Stroke], color: Color, scale: Scale
) -> Image.Image:
    """Paint strokes as wide as they are; a negative one is pale with a coloured core."""
    paint = Image.new("RGBA", layer.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(paint)
    for stroke in strokes:
        width = max(scale.line * 2, round(stroke.width * max(scale.width, scale.height)))
        points = [scale.xy(point) for point in stroke.xy]
        _polyline(pen, points, (*INK, HALO_ALPHA), width + 2 * scale.rim)
        _polyline(pen, points, (*(color if stroke.label else PAPER), STROKE_ALPHA), width)
        if not stroke.label:
            _polyline(pen, points, (*color, 255), max(scale.line, width // 4))
    return Image.alpha_composite(layer, paint)


def _polyline(
    pen: ImageDraw.ImageDraw,
    points: list[tuple[float, float]],
    color: tuple[int, int, int, int],
    width: int,
) -> None:
    if len(points) > 1:
        pen.line(points, fill=color, width=width, joint="curve")
    for x, y in (points[0], points[-1]):
        _disc(pen, (x, y), width / 2, color)


def _outlines(pen: ImageDraw.ImageDraw, region: Region, color: Color, scale: Scale) -> None:
    """Draw box, landmarks and clicks."""
    if region.box is not None:
        _frame(pen, region.box, color, scale)
    _skeleton(pen, region, color, scale)
    for point in region.points:
        _click(pen, point, color, scale)


def _frame(pen: ImageDraw.ImageDraw, box: Box, color: Color, scale: Scale) -> None:
    x0, y0, x1, y1 = scale.box(box)
    rim, radius = scale.rim, scale.line * 2
    outer = (x0 - rim, y0 - rim, x1 + rim, y1 + rim)
    short = min(x1 - x0, y1 - y0) / 2
    dark = (*INK, HALO_ALPHA)
    pen.rounded_rectangle(outer, min(radius + rim, short), outline=dark, width=rim)
    inner = scale.line
    if short > inner + rim:
        within = (x0 + inner, y0 + inner, x1 - inner, y1 - inner)
        pen.rounded_rectangle(within, max(0, radius - inner), outline=dark, width=rim)
    pen.rounded_rectangle(
        (x0, y0, x1, y1), min(radius, short), outline=(*color, 255), width=scale.line
    )


def _click(pen: ImageDraw.ImageDraw, point: Point, color: Color, scale: Scale) -> None:
    """Draw a disc on the object, a cross in a ring beside it."""
    x, y = scale.xy(point.xy)
    radius = scale.line * 2.6
    _disc(pen, (x, y), radius + scale.rim, (*INK, HALO_ALPHA))
    _disc(pen, (x, y), radius, (*PAPER, 255))
    if point.label:
        _disc(pen, (x, y), radius - scale.line * 0.8, (*color, 255))
    else:
        arm = radius * 0.5
        for dy in (-arm, arm):
            pen.line((x - arm, y - dy, x + arm, y + dy), fill=(*color, 255), width=scale.line)


def _skeleton(pen: ImageDraw.ImageDraw, region: Region, color: Color, scale: Scale) -> None:
    joints = region.keypoints
    if len(joints) == 17:
        for a, b in BONES:
            if joints[a].visibility and joints[b].visibility:
                ends = [scale.xy(joints[a].xy), scale.xy(joints[b].xy)]
                pen.line(ends, fill=(*INK, HALO_ALPHA), width=scale.line + 2 * scale.rim)
                pen.line(ends, fill=(*color, 255), width=scale.line)
    for joint in joints:
        if joint.visibility:
            place, radius = scale.xy(joint.xy), scale.line * 1.6
            _disc(pen, place, radius + scale.rim, (*INK, HALO_ALPHA))
            _disc(pen, place, radius, (*color, 255))
            if joint.visibility == 1:
                _disc(pen, place, radius * 0.55, (*PAPER, 255))


def _disc(
    pen: ImageDraw.ImageDraw,
    center: tuple[float, float],
    radius: float,
    color: tuple[int, int, int, int],
) -> None:
    x, y = center
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
