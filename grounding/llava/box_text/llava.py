"""Boxes as LLaVA-1.5 writes them: `[x0, y0, x1, y1]`, fractions with two decimals.

The data of LLaVA-1.5 (arXiv 2310.03744, section 3.3) has them so. Whether they refer to the padded
square or to the picture is disputed, so both can be had; the padded square is what the model sees.
"""

import re
from dataclasses import dataclass

from grounding.geometry import Box, CanvasMap, Size, pad
from grounding.llava.box_text.mention import NUMBER, Mention, as_it_is, plain_phrase, snap

__all__ = ["LlavaText"]

STEPS = 100  # two decimals
BOX = re.compile(rf"\[{NUMBER},{NUMBER},{NUMBER},{NUMBER}\]")
SENTENCE = re.compile(r"[.!?;\n]\s")
EDGES = " \t\r\n,;:.()-"
LEADING = re.compile(r"^(?:and|or)\s")


@dataclass(frozen=True, kw_only=True)
class LlavaText:
    """LLaVA's dialect.

    Attributes:
        padded: Whether boxes refer to the padded square.
    """

    padded: bool = True

    @property
    def name(self) -> str:
        """What the dialect is called."""
        return "llava" if self.padded else "llava-unpadded"

    def view(self, size: Size) -> CanvasMap:
        """Return where a picture lies on the square, or on itself."""
        if not self.padded:
            return as_it_is(size)
        side = max(size)
        left, top = (side - size[0]) // 2, (side - size[1]) // 2
        return pad(size, left, top, side - size[0] - left, side - size[1] - top)

    def place(self, box: Box, size: Size) -> str:
        """Write a box."""
        return "[" + ", ".join(f"{value / STEPS:.2f}" for value in snap(box, (STEPS, STEPS))) + "]"

    def write(self, phrase: str, box: Box, size: Size) -> str:
        """Write a line of an instruction's context (arXiv 2304.08485, section 3)."""
        return f"{plain_phrase(phrase)}: {self.place(box, size)}"

    def read(self, text: str, size: Size) -> list[Mention]:
        """Read boxes; the words before each in its sentence are its phrase."""
        mentions, start = [], 0
        for match in BOX.finditer(text):
            before = SENTENCE.split(text[start : match.start()])[-1]
            phrase = LEADING.sub("", before.strip(EDGES)).strip(EDGES)
            x0, y0, x1, y1 = map(float, match.groups())
            mentions.append(Mention(phrase=phrase, box=(x0, y0, x1, y1)))
            start = match.end()
        return mentions
