"""Labels beside regions: readable on any picture, away from each other."""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from grounding.geometry import Box, box_area, box_intersection
from grounding.masks import region_box, rle_to_bitmap
from grounding.palette import HALO_ALPHA, INK, contrast, region_color
from grounding.prompt import Region
from grounding.scale import Scale

__all__ = ["draw_labels", "label_of", "place_label"]

LABEL_WIDTH = 0.55  # of the canvas; longer labels are cut short


def draw_labels(
    pen: ImageDraw.ImageDraw,
    order: Iterable[tuple[int, Region]],
    scale: Scale,
    *,
    inside: bool = False,
    clear: Iterable[Box] = (),
) -> None:
    """Write a label beside every region that has a place, away from other labels.

    Args:
        pen: Of the layer.
        order: (place in the document, region) pairs; the place gives the colour.
        scale: Of the layer.
        inside: Whether the label of a mask lies on it, where it is widest, rather than above it.
        clear: Places, in pixels of the layer, that labels leave clear if they can.
    """
    font = _font(scale.font)
    pad_x, pad_y = round(scale.font * 0.5), round(scale.font * 0.24)
    ascent, descent = font.getmetrics()
    height = ascent + descent + 2 * pad_y
    spots = []
    for index, region in order:
        middle = _middle(region) if inside else None
        box = middle or _anchor(region)
        if box is not None:
            spots.append((index, region, scale.box(box), middle is not None))
    # Small regions choose first: they have the fewest good places.
    spots.sort(key=lambda spot: box_area(spot[2]))
    placed = list(clear)
    for index, region, frame, centred in spots:
        text = _fitted(label_of(region), font, LABEL_WIDTH * scale.width)
        width = round(font.getlength(text)) + 2 * pad_x
        others = [spot[2] for spot in spots if spot[0] != index]
        chip = place_label(frame, (width, height), placed, others, scale, centred=centred)
        placed.append(chip)
        color = region_color(index)
        rim = scale.rim
        outer = (chip[0] - rim, chip[1] - rim, chip[2] + rim, chip[3] + rim)
        radius = height * 0.3
        pen.rounded_rectangle(outer, radius + rim, fill=(*INK, HALO_ALPHA))
        pen.rounded_rectangle(chip, radius, fill=(*color, 255))
        pen.text((chip[0] + pad_x, chip[1] + pad_y), text, (*contrast(color), 255), font)


def _middle(region: Region) -> Box | None:
    """Return a spot of no extent where the region's mask is widest."""
    if region.mask is None:
        return None
    bitmap = rle_to_bitmap(region.mask)
    if not bitmap.any():
        return None
    # The canvas ends where the mask does: what it cuts off is not wide there.
    depth = cv2.distanceTransform(np.pad(bitmap, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = divmod(int(depth.argmax()), bitmap.shape[1])
    place = ((x + 0.5) / bitmap.shape[1], (y + 0.5) / bitmap.shape[0])
    return (*place, *place)


def _anchor(region: Region) -> Box | None:
    """Return the box that a label belongs to, or a spot of no extent at the first mark."""
    box = region_box(region)
    if box is not None:
        return box
    marks = [point.xy for point in region.points] + [xy for s in region.strokes for xy in s.xy]
    marks += [joint.xy for joint in region.keypoints]
    return (*marks[0], *marks[0]) if marks else None


def place_label(
    frame: tuple[int, int, int, int],
    size: tuple[int, int],
    placed: list[Box],
    others: list[tuple[int, int, int, int]],
    scale: Scale,
    *,
    centred: bool = False,
) -> Box:
    """Choose where a chip goes: on no other chip, then on few other regions, then as preferred.

    Args:
        frame: Of the region, xyxy in pixels.
        size: (width, height) of the chip.
        placed: Chips that have their place.
        others: Frames of other regions.
        scale: Of the layer.
        centred: Whether the middle of the frame is preferred to places beside it.
    """
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
    ]
    middle = ((x0 + x1 - width) / 2, (y0 + y1 - height) / 2)
    spots = [middle, *spots] if centred else [*spots, middle]
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


def label_of(region: Region) -> str:
    """Say what a region is, else its id, and its score."""
    text = " ".join(_drawable(region.phrase).split()) or _drawable(region.id) or "?"
    return text if region.score is None else f"{text} {region.score:.2f}"


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


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
