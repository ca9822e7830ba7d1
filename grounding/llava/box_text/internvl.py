"""Boxes as InternVL writes them: thousandths (arXiv 2404.16821, section 3.3).

<ref>llama</ref><box>[[x0, y0, x1, y1]]</box>
"""

import re
from dataclasses import dataclass

from grounding.geometry import Box, CanvasMap, Size
from grounding.llava.box_text.mention import NUMBER, Mention, as_it_is, plain_phrase, snap

__all__ = ["InternVLText"]

PERMILLE = 1000
BOXES = re.compile(r"<box>([^<>]*)</box>")
BOX = re.compile(rf"\[{NUMBER},{NUMBER},{NUMBER},{NUMBER}\]")
PHRASE = re.compile(r"<ref>([^<>]*)</ref>\s*$")


@dataclass(frozen=True, kw_only=True)
class InternVLText:
    """InternVL's dialect."""

    name: str = "internvl"

    def view(self, size: Size) -> CanvasMap:
        """Return the picture itself: its tiles cover it."""
        return as_it_is(size)

    def place(self, box: Box, size: Size) -> str:
        """Write a box."""
        values = ", ".join(map(str, snap(box, (PERMILLE, PERMILLE))))
        return f"<box>[[{values}]]</box>"

    def write(self, phrase: str, box: Box, size: Size) -> str:
        """Write a phrase with its box."""
        return f"<ref>{plain_phrase(phrase)}</ref>{self.place(box, size)}"

    def read(self, text: str, size: Size) -> list[Mention]:
        """Read phrases with one or more boxes."""
        mentions, start = [], 0
        for match in BOXES.finditer(text):
            said = PHRASE.search(text, start, match.start())
            for found in BOX.finditer(match[1]):
                x0, y0, x1, y1 = (float(value) / PERMILLE for value in found.groups())
                phrase = said[1].strip() if said else ""
                mentions.append(Mention(phrase=phrase, box=(x0, y0, x1, y1)))
            start = match.end()
        return mentions
