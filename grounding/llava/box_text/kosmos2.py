"""Boxes as Kosmos-2 writes them: two cells of a grid of 32 x 32 (arXiv 2306.14824, section 2).

    <phrase>a llama</phrase><object><patch_index_0044><patch_index_0863></object>

A corner is read at the middle of its cell; a box of one row or column, at the edges of its cells.
"""

import math
import re
from dataclasses import dataclass

from grounding.geometry import Box, CanvasMap, Size
from grounding.llava.box_text.mention import Mention, as_it_is, plain_phrase

__all__ = ["Kosmos2Text"]

CELLS = 32
OBJECT = re.compile(r"<object>((?:<patch_index_\d{4}>|</delimiter_of_multi_objects/>)+)</object>")
PHRASE = re.compile(r"<phrase>([^<>]*)</phrase>\s*$")
INDEX = re.compile(r"<patch_index_(\d{4})>")


@dataclass(frozen=True, kw_only=True)
class Kosmos2Text:
    """Kosmos-2's dialect."""

    name: str = "kosmos2"

    def view(self, size: Size) -> CanvasMap:
        """Return the picture itself: it is squeezed into a square."""
        return as_it_is(size)

    def place(self, box: Box, size: Size) -> str:
        """Write a box."""
        x0, y0 = (min(math.floor(value * CELLS), CELLS - 1) for value in box[:2])
        x1, y1 = (max(math.ceil(value * CELLS - 1), 0) for value in box[2:])
        first, last = y0 * CELLS + x0, y1 * CELLS + x1
        return f"<object><patch_index_{first:04d}><patch_index_{last:04d}></object>"

    def write(self, phrase: str, box: Box, size: Size) -> str:
        """Write a phrase with its box."""
        return f"<phrase>{plain_phrase(phrase)}</phrase>{self.place(box, size)}"

    def read(self, text: str, size: Size) -> list[Mention]:
        """Read phrases with one or more boxes."""
        mentions, start = [], 0
        for match in OBJECT.finditer(text):
            said = PHRASE.search(text, start, match.start())
            phrase = said[1].strip() if said else ""
            for part in match[1].split("</delimiter_of_multi_objects/>"):
                cells = [int(index) for index in INDEX.findall(part)]
                if len(cells) == 2:
                    mentions.append(Mention(phrase=phrase, box=_box(*cells)))
            start = match.end()
        return mentions


def _box(first: int, last: int) -> Box:
    (y0, x0), (y1, x1) = divmod(first, CELLS), divmod(last, CELLS)
    if x0 == x1 or y0 == y1:
        return x0 / CELLS, y0 / CELLS, (x1 + 1) / CELLS, (y1 + 1) / CELLS
    half = 0.5
    return (x0 + half) / CELLS, (y0 + half) / CELLS, (x1 + half) / CELLS, (y1 + half) / CELLS
