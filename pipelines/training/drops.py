"""What of a data set was not used, and why."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Dropped", "Drops"]

NAMED = 5  # examples of each reason in the report


class Dropped(Exception):  # noqa: N818 - not an error: the rest of the data is fine
    """A picture that cannot be learnt from.

    Args:
        reason: In a few words, the same for all pictures of its kind.
        detail: What is said of this one alone.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass
class Drops:
    """Counts of what is kept and of what is dropped, by reason.

    Attributes:
        pictures, regions: How many are kept.
        lost_pictures, lost_regions: How many are not, by reason.
        named: Of each reason the first few, by name.
    """

    pictures: int = 0
    regions: int = 0
    lost_pictures: Counter[str] = field(default_factory=Counter)
    lost_regions: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)

    def picture(self, name: str, dropped: Dropped) -> None:
        """Count a picture that is not used."""
        self.lost_pictures[dropped.reason] += 1
        self._name(dropped.reason, f"{name}: {dropped.detail}" if dropped.detail else name)

    def of_picture(self, name: str, reasons: Iterable[tuple[str, str]]) -> None:
        """Count regions of a picture that are not used, each with a reason and a detail."""
        for reason, detail in reasons:
            self.lost_regions[reason] += 1
            self._name(reason, f"{name}: {detail}" if detail else name)

    def _name(self, reason: str, what: str) -> None:
        named = self.named.setdefault(reason, [])
        if len(named) < NAMED and what not in named:
            named.append(what)

    def report(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "pictures": self.pictures,
            "regions": self.regions,
            "dropped_pictures": dict(self.lost_pictures.most_common()),
            "dropped_regions": dict(self.lost_regions.most_common()),
            "such_as": self.named,
        }

    def lines(self) -> list[str]:
        """All of it, for people."""
        lines = [f"{self.pictures} pictures with {self.regions} regions"]
        for what, lost in (("pictures", self.lost_pictures), ("regions", self.lost_regions)):
            lines += [
                f"dropped {count} {what}: {reason} (such as {self.named[reason][0]})"
                for reason, count in lost.most_common()
            ]
        return lines
