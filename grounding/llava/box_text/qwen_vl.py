"""Boxes as Qwen's models write them, in JSON.

    {"bbox_2d": [x0, y0, x1, y1], "label": "llama"}

Qwen2.5-VL (arXiv 2502.13923, section 2.2.3) counts pixels of the picture as it reads it, whose sides
are multiples of 28; Qwen3-VL counts thousandths. The text is searched, not loaded: it may be cut off,
or between other words.
"""  # noqa: E501

import json
import math
import re
from dataclasses import dataclass

from grounding.geometry import Box, CanvasMap, Size, resize
from grounding.llava.box_text.mention import NUMBER, Mention, as_it_is, plain_phrase, snap

__all__ = ["QwenText"]

PERMILLE = 1000
FACTOR = 28  # of the sides of pictures: a patch of 14 pixels, two by two merged
MIN_PIXELS, MAX_PIXELS = 56 * 56, 14 * 14 * 4 * 1280  # Qwen2-VL, qwen_vl_utils
OBJECT = re.compile(r"\{[^{}]*\}")
BOX = re.compile(rf'"bbox_2d"\s{{0,8}}:\s{{0,8}}\[{NUMBER},{NUMBER},{NUMBER},{NUMBER}\]')
LABEL = re.compile(r'"label"\s{0,8}:\s{0,8}("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, kw_only=True)
class QwenText:
    """Qwen's dialects.

    Attributes:
        pixels: Whether coordinates are pixels, as in Qwen2.5-VL, or thousandths.
        min_pixels: Of the picture as the model reads it, at least.
        max_pixels: At most.
    """

    pixels: bool
    min_pixels: int = MIN_PIXELS
    max_pixels: int = MAX_PIXELS

    @property
    def name(self) -> str:
        """What the dialect is called."""
        return "qwen2.5-vl" if self.pixels else "qwen3-vl"

    def view(self, size: Size) -> CanvasMap:
        """Return where a picture lies on what the model reads."""
        return resize(size, self._resized(size)) if self.pixels else as_it_is(size)

    def place(self, box: Box, size: Size) -> str:
        """Write a box."""
        return "[" + ", ".join(map(str, snap(box, self._steps(size)))) + "]"

    def write(self, phrase: str, box: Box, size: Size) -> str:
        """Write a phrase with its box."""
        label = json.dumps(plain_phrase(phrase), ensure_ascii=False)
        label = label.replace("{", "\\u007b").replace("}", "\\u007d")
        return f'{{"bbox_2d": {self.place(box, size)}, "label": {label}}}'

    def read(self, text: str, size: Size) -> list[Mention]:
        """Read objects that have a box; their label is their phrase."""
        across, down = self._steps(size)
        mentions = []
        for match in OBJECT.finditer(text):
            found, label = BOX.search(match[0]), LABEL.search(match[0])
            if found is None:
                continue
            x0, y0, x1, y1 = map(float, found.groups())
            box = (x0 / across, y0 / down, x1 / across, y1 / down)
            mentions.append(Mention(phrase=_word(label[1]) if label else "", box=box))
        return mentions

    def _steps(self, size: Size) -> tuple[int, int]:
        return size if self.pixels else (PERMILLE, PERMILLE)

    def _resized(self, size: Size) -> Size:
        """The size at which Qwen2.5-VL reads a picture (qwen_vl_utils, smart_resize)."""
        width, height = (max(FACTOR, round(side / FACTOR) * FACTOR) for side in size)
        if width * height > self.max_pixels:
            scale = math.sqrt(size[0] * size[1] / self.max_pixels)
            width, height = (
                max(FACTOR, math.floor(side / scale / FACTOR) * FACTOR) for side in size
            )
        elif width * height < self.min_pixels:
            scale = math.sqrt(self.min_pixels / (size[0] * size[1]))
            width, height = (math.ceil(side * scale / FACTOR) * FACTOR for side in size)
        return width, height


def _word(literal: str) -> str:
    """A JSON string's text; one with escapes that JSON does not know, as it stands."""
    try:
        return str(json.loads(literal)).strip()
    except ValueError:
        return literal[1:-1].strip()
