"""Phrases that have a mask, which the text does not hold: GLaMM's and LISA's `[SEG]`.

    <p> a llama </p> [SEG]        GLaMM, arXiv 2311.03356, section 3.1
    It is [SEG].                  LISA, arXiv 2308.00692, section 3.2

The mask comes from the hidden state of the token; here it is left to a segmenter, given the phrase.
"""

import re
from dataclasses import dataclass

from grounding.errors import PromptError
from grounding.geometry import Box, CanvasMap, Size
from grounding.llava.box_text.mention import Mention, as_it_is, plain_phrase

__all__ = ["SegText"]

TOKEN = re.compile(r"\[SEG\]")
PHRASE = re.compile(r"<p>([^<>]*)</p>\s*$")


@dataclass(frozen=True, kw_only=True)
class SegText:
    """The dialect of models with masks."""

    name: str = "seg"

    def view(self, size: Size) -> CanvasMap:
        """Return the picture itself."""
        return as_it_is(size)

    def place(self, box: Box, size: Size) -> str:
        """Refuse: the dialect has no coordinates.

        Raises:
            PromptError: Always.
        """
        raise PromptError("the dialect 'seg' has no boxes to point with: show marks or crops")

    def write(self, phrase: str, box: Box, size: Size) -> str:
        """Write a phrase that has a mask."""
        return f"<p> {plain_phrase(phrase)} </p> [SEG]"

    def read(self, text: str, size: Size) -> list[Mention]:
        """Read phrases that have a mask; the phrase is empty where there is none."""
        mentions, start = [], 0
        for match in TOKEN.finditer(text):
            said = PHRASE.search(text, start, match.start())
            mentions.append(Mention(phrase=said[1].strip() if said else "", box=None))
            start = match.end()
        return mentions
