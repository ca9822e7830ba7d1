"""What a writer hands back: the content, and what the format could not hold."""

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

from grounding.prompt import GroundedPrompt, Maps, Sampling

__all__ = ["Written", "unsaid", "written"]

_log = logging.getLogger(__name__)


class Written(NamedTuple):
    """A document in a foreign format."""

    content: Any
    dropped: tuple[str, ...]


def written(content: Any, dropped: Iterable[str], name: str) -> Written:
    """Pack the result of a writer and log a warning that lists what was dropped."""
    lost = tuple(dict.fromkeys(dropped))
    if lost:
        _log.warning("%s cannot hold, and drops: %s", name, ", ".join(lost))
    return Written(content, lost)


def unsaid(
    prompt: GroundedPrompt, fields: Iterable[str] = (), regions: Iterable[str] = ()
) -> list[str]:
    """Name what a document says beyond the fields that a format can hold.

    Args:
        prompt: the document.
        fields: top-level fields that the format holds; `regions` and `schema_` go without saying.
        regions: fields of a region that the format holds. An id that was only assigned by
            position is nothing to lose.
    """
    held = {*fields, "regions", "schema_"}
    empty = (None, "", (), {}, Maps(), Sampling())
    lost = [name.rstrip("_") for name, value in prompt if name not in held and value not in empty]
    kept = set(regions)
    for index, region in enumerate(prompt.regions):
        for name, value in region:
            default = value in (None, "", (), {}) or (name == "z" and value == 0)
            if name == "id":
                default = value == f"r{index + 1}"
            if name not in kept and not default:
                lost.append(f"regions[{index}].{name}")
    return lost
