"""Overlays that people look at: boxes, masks, strokes, points, landmarks and their labels."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from grounding.geometry import Box, box_area, box_intersection
from grounding.masks import polygon_to_bitmap, region_box, rle_to_bitmap
from grounding.prompt import GroundedPrompt, Region, Stroke

__all__ = ["PALETTE", "draw_regions", "region_color"]

Color = tuple[int, int, int]

# Okabe and Ito, "Color Universal Design": told apart with every kind of colour vision.
PALETTE: tuple[Color, ...] = (
    (213, 94, 0),  # vermillion
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (204, 121, 167),  # reddish purple
    (0, 114, 178),  # blue
    (230, 159, 0),  # orange
)
INK: Color = (24, 24, 27)
PAPER: Color = (255, 255, 255)
HALO_ALPHA = 120  # of 255; a dark rim keeps lines visible on any picture
FILL_ALPHA = 96
STROKE_ALPHA = 190
LABEL_WIDTH = 0.55  # of the canvas; longer labels are cut short
SUPERSAMPLING_AREA = 2048 * 2048  # pixels; larger pictures are smooth enough without

# The bones between COCO's 17 joints.
BONES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12),
    (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip


@dataclass(frozen=True)
class _Scale:
    """Sizes in pixels of the layer that is drawn on."""

    width: int
    height: int
    line: int
    rim: int
    font: int

    @classmethod
    def of(cls, size: tuple[int, int], over: int) -> "_Scale":
        side = min(size)
        line = max(2, round(side / 190))
        return cls(
            width=size[0] * over,
            height=size[1] * over,
            line=line * over,
            rim=max(1, line // 2) * over,
            font=max(13, round(side / 32)) * over,
        )

    def xy(self, point: tuple[float, float]) -> tuple[float, float]:
        return point[0] * self.width, point[1] * self.height

    def box(self, box: Box) -> tuple[int, int, int, int]:
        """Place a box so that its whole frame lies on the canvas."""
        x0, y0, x1, y1 = (
            round(value * side)
            for value, side in zip(box, (self.width, self.height) * 2, strict=True)
        )
        return x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)


def region_color(index: int) -> Color:
    """Return the RGB colour of the region at that place in the document."""
    return PALETTE[index % len(PALETTE)]


def draw_regions(
    image: Image.Image, prompt: GroundedPrompt, *, min_side: int = 512, labels: bool = True
) -> Image.Image:
    """Draw a document's regions over a picture of its canvas.

    Small pictures are enlarged by a whole factor first, so that labels can be read.

    Args:
        image: any mode; transparency is laid on white. It is not changed.
        prompt: whose regions to draw, those with a higher `z` on top.
        min_side: the shorter side of the result has at least this many pixels.
        labels: whether to write phrase (or id) and score beside each region.

    Returns:
        A new RGB image.
    """
    picture = _on_white(image)
    factor = max(1, -(-min_side // min(picture.size)))
    if factor > 1:
        size = (picture.width * factor, picture.height * factor)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    over = 2 if picture.width * picture.height <= SUPERSAMPLING_AREA else 1
    scale = _Scale.of(picture.size, over)
    order = sorted(enumerate(prompt.regions), key=lambda item: item[1].z)
    for index, region in order:
        _fill(picture, region, region_color(index), scale.line / over)
    layer = Image.new("RGBA", (scale.width, scale.height), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    for index, region in order:
        if region.strokes:
            layer = _strokes(layer, region.strokes, region_color(index), scale)
            pen = ImageDraw.Draw(layer)
        _outlines(pen, region, region_color(index), scale)
    if labels:
        _chips(pen, order, scale)
    if over > 1:
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
        bitmap = rle_to_bitmap(region.mask).astype(np.float32)
        grown = max(picture.width / bitmap.shape[1], picture.height / bitmap.shape[0])
        bitmap = cv2.resize(bitmap, picture.size, interpolation=cv2.INTER_LINEAR)
        if grown > 1:  # round off the staircase of a smaller mask
            bitmap = cv2.GaussianBlur(bitmap, (0, 0), 0.6 * grown)
        area = bitmap >= 0.5
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


def _strokes(
    layer: Image.Image, strokes: Iterable[Stroke], color: Color, scale: _Scale
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


def _outlines(pen: ImageDraw.ImageDraw, region: Region, color: Color, scale: _Scale) -> None:
    """Draw box, landmarks and clicks."""
    if region.box is not None:
        x0, y0, x1, y1 = scale.box(region.box)
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
    _skeleton(pen, region, color, scale)
    for point in region.points:
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


def _skeleton(pen: ImageDraw.ImageDraw, region: Region, color: Color, scale: _Scale) -> None:
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


def _chips(pen: ImageDraw.ImageDraw, order: Iterable[tuple[int, Region]], scale: _Scale) -> None:
    """Write a label beside every region that has a place, away from other labels."""
    font = _font(scale.font)
    pad_x, pad_y = round(scale.font * 0.5), round(scale.font * 0.24)
    ascent, descent = font.getmetrics()
    height = ascent + descent + 2 * pad_y
    spots = [
        (index, region, scale.box(box))
        for index, region in order
        if (box := _anchor(region)) is not None
    ]
    # Small regions choose first: they have the fewest good places.
    spots.sort(key=lambda spot: box_area(spot[2]))
    placed: list[Box] = []
    for index, region, frame in spots:
        text = _fitted(_label(region), font, LABEL_WIDTH * scale.width)
        width = round(font.getlength(text)) + 2 * pad_x
        others = [spot[2] for spot in spots if spot[0] != index]
        chip = _best_place(frame, (width, height), placed, others, scale)
        placed.append(chip)
        color = region_color(index)
        rim = scale.rim
        outer = (chip[0] - rim, chip[1] - rim, chip[2] + rim, chip[3] + rim)
        radius = height * 0.3
        pen.rounded_rectangle(outer, radius + rim, fill=(*INK, HALO_ALPHA))
        pen.rounded_rectangle(chip, radius, fill=(*color, 255))
        pen.text((chip[0] + pad_x, chip[1] + pad_y), text, (*_contrast(color), 255), font)


def _anchor(region: Region) -> Box | None:
    """Return the box that a label belongs to, or a spot of no extent at the first mark."""
    box = region_box(region)
    if box is not None:
        return box
    marks = [point.xy for point in region.points] + [xy for s in region.strokes for xy in s.xy]
    marks += [joint.xy for joint in region.keypoints]
    return (*marks[0], *marks[0]) if marks else None


def _best_place(
    frame: tuple[int, int, int, int],
    size: tuple[int, int],
    placed: list[Box],
    others: list[tuple[int, int, int, int]],
    scale: _Scale,
) -> Box:
    """Choose where a chip goes: on no other chip, then on few other regions, then as preferred."""
    (x0, y0, x1, y1), (width, height), gap = frame, size, scale.rim * 2
    inset = scale.line + gap
    tall = y1 - y0 > 2.5 * height
    spots = [
        (x0, y0 - height - gap),  # above, outside
        (x0, y1 + gap),  # below, outside
        (x1 - width, y0 - height - gap),
        (x1 - width, y1 + gap),
        (x0 + inset, y0 + inset),  # inside
        (x0 + inset, y1 - inset - height),
        (x1 - inset - width, y0 + inset),
        (x1 - inset - width, y1 - inset - height),
        (x1 + gap, y0),  # beside
        (x0 - width - gap, y0),
        ((x0 + x1 - width) / 2, (y0 + y1 - height) / 2),
    ]
    best: tuple[float, Box] | None = None
    for rank, (x, y) in enumerate(spots):
        left = min(max(x, scale.rim), scale.width - width - scale.rim)
        top = min(max(y, scale.rim), scale.height - height - scale.rim)
        chip = (float(left), float(top), float(left + width), float(top + height))
        moved = abs(left - x) + abs(top - y)
        hidden = sum(_shared(chip, other) for other in others)
        own = _shared(chip, (float(x0), float(y0), float(x1), float(y1)))
        area = width * height
        cost = 100 * sum(_shared(chip, other) for other in placed) / area
        cost += 0.8 * hidden / area + 3 * moved / (width + height) + 0.05 * rank
        cost += 0.0 if tall else 2 * own / max(1, (x1 - x0) * (y1 - y0))
        if best is None or cost < best[0]:
            best = (cost, chip)
    assert best is not None
    return best[1]


def _shared(a: Box, b: Box | tuple[int, int, int, int]) -> float:
    common = box_intersection(a, b)
    return box_area(common) if common else 0.0


def _label(region: Region) -> str:
    text = " ".join(_drawable(region.phrase).split()) or _drawable(region.id) or "?"
    return text if region.score is None else f"{text} {region.score:.2f}"


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def _contrast(color: Color) -> Color:
    """Return ink or paper, whichever has the higher WCAG contrast on the colour."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in color)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return INK if (luminance + 0.05) ** 2 > 0.05 * 1.05 else PAPER


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _drawable(text: str) -> str:
    """Leave out what Pillow's bundled font has no shape for: accents, then whole characters."""
    shown = ""
    for character in text[:200]:
        plain = character if _has_glyph(character) else unicodedata.normalize("NFKD", character)
        shown += "".join(filter(_has_glyph, plain))
    return shown


@lru_cache(maxsize=4096)
def _has_glyph(character: str) -> bool:
    if character.isspace():
        return True
    if not character.isprintable():
        return False
    shape = _shape(character)
    return any(shape) and shape != _shape("\U0010fffe")  # not a character: the placeholder


def _shape(character: str) -> bytes:
    picture = Image.new("L", (64, 64))
    ImageDraw.Draw(picture).text((16, 16), character, 255, _font(24))
    return picture.tobytes()
