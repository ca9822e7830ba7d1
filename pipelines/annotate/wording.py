"""A caption made by rule, of regions: "two dogs, a lava llama and an ice fox on a beach"."""

from collections.abc import Sequence

from grounding.geometry import box_area
from grounding.region import Region
from grounding.stickers.captions import direction
from grounding.stickers.questions import plural
from grounding.stickers.vocabulary import article

__all__ = ["caption_of"]

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
WHOLE = (0.0, 0.0, 1.0, 1.0)


def caption_of(regions: Sequence[Region], background: str = "") -> str:
    """Say what is there: the larger first, alike things together, of two how they stand.

    Args:
        regions: With phrases and boxes.
        background: What lies behind, as it is said: "on a beach".
    """
    order = sorted(regions, key=lambda region: -box_area(region.box or WHOLE))
    kinds: dict[str, list[Region]] = {}
    for region in order:
        kinds.setdefault(region.phrase, []).append(region)
    names = [_numbered(phrase, len(alike)) for phrase, alike in kinds.items()]
    said = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    if len(order) == len(kinds) == 2:
        first, second = (region.box or WHOLE for region in order)
        said = f"{names[0]} {direction(first, second) or 'and'} {names[1]}"
    return " ".join(filter(None, (said, background)))


def _numbered(phrase: str, count: int) -> str:
    if count == 1:
        return article(phrase)
    first, space, last = phrase.rpartition(" ")
    number = NUMBERS[count] if count < len(NUMBERS) else str(count)
    return f"{number} {first}{space}{plural(last)}"
