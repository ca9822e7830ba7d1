"""Set-of-Mark: numerals on a picture that words can refer to (arXiv 2310.11441, section 3)."""

import re
from collections.abc import Sequence

from PIL import Image

from grounding.draw import draw_found
from grounding.prompt import GroundedPrompt
from grounding.region import Region

__all__ = ["draw_marks", "marks_in", "name_marks"]

NUMERALS = re.compile(
    r"(?:\b(?:region|object|mark|number)s?\s{1,4}|[#\[(])"
    r"(\d{1,3}(?:\s{0,4}(?:,|and|&)\s{0,4}\d{1,3}){0,50})",
    re.IGNORECASE,
)


def draw_marks(picture: Image.Image, regions: Sequence[Region]) -> Image.Image:
    """Outline regions and number them from 1.

    Args:
        picture: Of the regions; not changed.
        regions: In the order of their numerals, each with a place.

    Returns:
        An RGB picture of the same size.
    """
    numbered = [
        region.replace(id=f"m{number}", phrase=str(number), score=None)
        for number, region in enumerate(regions, start=1)
    ]
    return draw_found(picture, GroundedPrompt(regions=tuple(numbered)), min_side=1)


def name_marks(numbers: Sequence[int]) -> str:
    """Return the words that point at marks: "region 1", "regions 1, 2 and 5"."""
    words = [str(number) for number in numbers]
    if len(words) == 1:
        return f"region {words[0]}"
    return f"regions {', '.join(words[:-1])} and {words[-1]}"


def marks_in(text: str, count: int) -> tuple[int, ...]:
    """Return the numbers of the marks that an answer names, each once, in order.

    Args:
        text: What a model said.
        count: How many marks there are; other numbers are no marks.
    """
    found = [
        int(number)
        for match in NUMERALS.finditer(text)
        for number in re.findall(r"\d{1,3}", match[1])
    ]
    return tuple(dict.fromkeys(number for number in found if 1 <= number <= count))
