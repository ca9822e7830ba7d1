"""A phrase and its place in a text, and what the dialects of such texts share."""

import math
import re
from dataclasses import dataclass
from typing import Protocol

from grounding.errors import PromptError
from grounding.geometry import Box, CanvasMap, Size, resize

__all__ = ["NUMBER", "Dialect", "Mention", "as_it_is", "plain_phrase", "snap"]

NUMBER = r"\s{0,8}(-?\d{1,6}(?:\.\d{0,9})?|-?\.\d{1,9})\s{0,8}"
"""A coordinate; of bounded length, so that no text takes long to search."""

TAG = re.compile(r"<[^<>]{0,60}>")


@dataclass(frozen=True, kw_only=True)
class Mention:
    """A thing that a text speaks of.

    Attributes:
        phrase: What it is; empty where the text does not say.
        box: Normalised xyxy on the canvas of the text, as written: perhaps impossible. None: the
            text says that it has a place, but not where ([SEG]).
    """

    phrase: str
    box: Box | None


class Dialect(Protocol):
    """How a family of models writes boxes."""

    @property
    def name(self) -> str:
        """What the dialect is called."""
        ...

    def view(self, size: Size) -> CanvasMap:
        """Return where a picture of a size lies on the canvas that boxes refer to."""
        ...

    def place(self, box: Box, size: Size) -> str:
        """Write a box of a canvas alone, to point with."""
        ...

    def write(self, phrase: str, box: Box, size: Size) -> str:
        """Write a phrase with its box; mentions are joined by line breaks."""
        ...

    def read(self, text: str, size: Size) -> list[Mention]:
        """Read all mentions, in order. What is not written as it should be is no mention."""
        ...


def as_it_is(size: Size) -> CanvasMap:
    """Return the view of dialects whose boxes refer to the picture itself."""
    return resize(size, size)


def plain_phrase(phrase: str) -> str:
    """Return a phrase without line breaks and tags, which would be read as something else.

    Raises:
        PromptError: Nothing is left.
    """
    words = " ".join(TAG.sub(" ", phrase).replace("<", " ").replace(">", " ").split())
    if not words:
        raise PromptError(f"expected a phrase in words, got {phrase!r}")
    return words


def snap(box: Box, steps: tuple[int, int]) -> tuple[int, int, int, int]:
    """Round a normalised box to a grid; a box that would vanish keeps one step.

    Args:
        box: xyxy in [0, 1].
        steps: How many the canvas has, across and down.
    """
    (x0, x1), (y0, y1) = (
        _snap_side(low, high, count)
        for low, high, count in zip(box[:2], box[2:], steps, strict=True)
    )
    return x0, y0, x1, y1


def _snap_side(low: float, high: float, count: int) -> tuple[int, int]:
    first, last = round(low * count), round(high * count)
    if first < last:
        return first, last
    first = min(math.floor(low * count), count - 1)
    return first, first + 1
