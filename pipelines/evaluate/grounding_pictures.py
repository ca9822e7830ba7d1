"""Contact sheets: a line of pictures a layout, with the boxes asked for and those found."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gligen.evaluation.detection import Detection
from grounding.draw import draw_found
from grounding.prompt import GroundedPrompt
from grounding.region import Region

__all__ = ["Tile", "contact_sheet"]

SIDE = 320  # pixels of a picture's longer side
GAP = 8
FONT = 15
LINE = FONT + GAP  # height of a line of text
INK, PAPER = (24, 24, 27), (255, 255, 255)

Tile = tuple[
    np.ndarray, Sequence[Detection]
]  # a picture, uint8 [H, W, 3], and what was found on it


def contact_sheet(
    lines: Sequence[tuple[GroundedPrompt, Mapping[str, Tile]]], labels: Mapping[str, str]
) -> bytes:
    """Draw the pictures of some layouts, as PNG: boxes asked for in white, found ones in colour.

    Args:
        lines: For each layout what was asked, and the pictures by the keys of `labels`.
        labels: Headings of the columns, in order; those without any picture are left out.
    """
    columns = [key for key in labels if any(key in tiles for _, tiles in lines)]
    width = GAP + len(columns) * (SIDE + GAP)
    height = LINE + GAP + len(lines) * (SIDE + LINE + GAP)
    sheet = Image.new("RGB", (width, height), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT)
    for place, key in enumerate(columns):
        pen.text((GAP + place * (SIDE + GAP), GAP // 2), labels[key], INK, font)
    for number, (document, tiles) in enumerate(lines):
        top = LINE + GAP + number * (SIDE + LINE + GAP)
        pen.text((GAP, top), _fitted(document.prompt, font, width - 2 * GAP), INK, font)
        for place, key in enumerate(columns):
            if key in tiles:
                picture = _drawn(document, *tiles[key])
                left = GAP + place * (SIDE + GAP)
                sheet.paste(picture, (left, top + LINE))
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def _drawn(document: GroundedPrompt, image: np.ndarray, found: Sequence[Detection]) -> Image.Image:
    regions = tuple(Region(phrase=d.text, box=d.box, score=min(1.0, d.score)) for d in found)
    drawn = draw_found(
        Image.fromarray(image), GroundedPrompt(regions=regions), document.regions, min_side=SIDE
    )
    factor = SIDE / max(drawn.size)
    size = (max(1, round(drawn.width * factor)), max(1, round(drawn.height * factor)))
    return drawn.resize(size, Image.Resampling.LANCZOS)


def _fitted(text: str, font, width: float) -> str:
    """Cut a text short where it is too long for a line."""
    printable = " ".join("".join(c if c.isprintable() else "?" for c in text).split())
    if font.getlength(printable) <= width:
        return printable
    while printable and font.getlength(f"{printable}...") > width:
        printable = printable[: int(len(printable) * 0.9)]
    return f"{printable}..."
