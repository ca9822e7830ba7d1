"""Layout: what a text-box adapter can use of a prompt document, and what it has to leave."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt
from grounding.region import Region

__all__ = ["Box", "Layout", "Notice", "notice", "plan_layout"]

log = logging.getLogger(__name__)

Box = tuple[float, float, float, float]
Notice = Callable[[str], None]

# Read by a text-box adapter, or a result that stands beside what was asked.
_REGION_FIELDS = {"id", "phrase", "box", "z", "score"}
_DOCUMENT_FIELDS = {
    "schema_",
    "canvas",
    "prompt",
    "negative_prompt",
    "image",
    "regions",
    "sampling",
    "files",
    "provenance",
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Phrases and their boxes, in the order of the document.

    Attributes:
        phrases: what goes where.
        boxes: normalised xyxy, origin top left, one for each phrase.
    """

    phrases: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()


def notice(strict: bool) -> Notice:
    """How to speak of input that cannot be used as it stands: a warning, an error if `strict`."""

    def say(message: str) -> None:
        if strict:
            raise PromptError(f"{message} (an error because of strict)")
        log.warning("%s", message)

    return say


def plan_layout(document: GroundedPrompt, max_boxes: int, say: Notice) -> Layout:
    """Choose the regions to draw.

    Args:
        document: any prompt document.
        max_boxes: what the adapter takes; of more, the largest are kept.
        say: told of everything that has no effect on the picture.
    """
    usable = [region for region in document.regions if _is_usable(region, say)]
    unused = _unused(document, _DOCUMENT_FIELDS)
    if usable:
        of_regions = (_unused(region, _REGION_FIELDS) for region in usable)
        unused += [f"{name} of regions" for name in dict.fromkeys(chain(*of_regions))]
    if unused:
        say(f"no effect on the picture, which follows phrases and boxes: {', '.join(unused)}")
    if len(usable) > max_boxes:
        say(f"{len(usable)} boxes, and the adapter takes {max_boxes}: only the largest are kept")
        largest = sorted(usable, key=_area, reverse=True)[:max_boxes]
        kept = {region.id for region in largest}
        usable = [region for region in usable if region.id in kept]
    return Layout(
        phrases=tuple(region.phrase for region in usable),
        boxes=tuple(box for region in usable if (box := region.bounds()) is not None),
    )


def _is_usable(region: Region, say: Notice) -> bool:
    missing = [] if region.bounds() else ["box"]
    missing += [] if region.phrase.strip() else ["phrase"]
    if missing:
        say(f"region {region.id!r} is left out: it has no {' and no '.join(missing)}")
    return not missing


def _area(region: Region) -> float:
    x0, y0, x1, y1 = region.bounds() or (0.0, 0.0, 0.0, 0.0)
    return (x1 - x0) * (y1 - y0)


def _unused(part: Any, used: set[str]) -> list[str]:
    """Name the fields of a document's part that say something and are not used."""
    fields = type(part).model_fields
    return [
        name.rstrip("_")
        for name, value in part
        if name not in used and value != fields[name].get_default(call_default_factory=True)
    ]
