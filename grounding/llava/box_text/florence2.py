"""Boxes as Florence-2 writes them: four of 1000 location tokens (arXiv 2311.06242, section 4.1).

    llama<loc_52><loc_332><loc_932><loc_774>

A coordinate is cut down to its bin, and read at the bin's middle; a box inside one bin has its edges.
"""  # noqa: E501

import re
from dataclasses import dataclass

from grounding.geometry import Box, CanvasMap, Size
from grounding.llava.box_text.mention import Mention, as_it_is, plain_phrase

__all__ = ["Florence2Text"]

BINS = 1000
PLACES = re.compile(r"(?:<loc_\d{1,4}>)+")
INDEX = re.compile(r"<loc_(\d{1,4})>")
TAG = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, kw_only=True)
class Florence2Text:
    """Florence-2's dialect."""

    name: str = "florence2"

    def view(self, size: Size) -> CanvasMap:
        """Return the picture itself: it is squeezed into a square."""
        return as_it_is(size)

    def place(self, box: Box, size: Size) -> str:
        """Write a box."""
        return "".join(f"<loc_{min(int(value * BINS), BINS - 1)}>" for value in box)

    def write(self, phrase: str, box: Box, size: Size) -> str:
        """Write a phrase with its box."""
        return f"{plain_phrase(phrase)}{self.place(box, size)}"

    def read(self, text: str, size: Size) -> list[Mention]:
        """Read phrases with one or more boxes."""
        mentions, start = [], 0
        for match in PLACES.finditer(text):
            lines = TAG.sub("\n", text[start : match.start()]).splitlines()
            phrase = lines[-1].strip() if lines else ""
            bins = [int(index) for index in INDEX.findall(match[0])]
            for place in range(0, len(bins) - 3, 4):
                mentions.append(Mention(phrase=phrase, box=_box(*bins[place : place + 4])))
            start = match.end()
        return mentions


def _box(x0: int, y0: int, x1: int, y1: int) -> Box:
    (left, right), (top, bottom) = _side(x0, x1), _side(y0, y1)
    return left, top, right, bottom


def _side(low: int, high: int) -> tuple[float, float]:
    if low == high:
        return low / BINS, (high + 1) / BINS
    return (low + 0.5) / BINS, (high + 0.5) / BINS
