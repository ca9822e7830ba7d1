"""What of a data set was not used, or not as it was, and why: counted by reason, named in full."""

import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grounding.errors import PromptError
from grounding.files import write_files
from grounding.formats.remarks import Remarks

__all__ = ["DROPPED", "Dropped", "Drops"]

DROPPED = "dropped.jsonl"  # the usual name of the list of all
NAMED = 5  # examples of each reason in the report


class Dropped(Exception):  # noqa: N818 - not an error: the rest of the data is fine
    """A picture that cannot be used.

    Args:
        reason: In a few words, the same for all pictures of its kind.
        detail: What is said of this one alone.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass
class Drops:
    """Counts of what is kept, of what is dropped and of what is changed, by reason.

    Attributes:
        pictures, regions: How many are kept.
        lost_pictures, lost_regions: How many are not, by reason.
        changed_regions: How many are kept in part, or not as they were, by reason: "a box clipped
            to its picture".
        named: Of each reason the first few, by name.
        nouns: What the two are called for people: of conversations, records and turns.
    """

    pictures: int = 0
    regions: int = 0
    lost_pictures: Counter[str] = field(default_factory=Counter)
    lost_regions: Counter[str] = field(default_factory=Counter)
    changed_regions: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)
    nouns: tuple[str, str] = ("pictures", "regions")
    _all: io.BytesIO = field(default_factory=io.BytesIO, repr=False, compare=False)

    def picture(self, name: str, dropped: Dropped) -> None:
        """Count a picture that is not used."""
        self.lost_pictures[dropped.reason] += 1
        self._name("dropped", "picture", name, dropped.reason, dropped.detail)

    def of_picture(self, name: str, reasons: Iterable[tuple[str, str]]) -> None:
        """Count regions of a picture that are not used, each with a reason and a detail."""
        for reason, detail in reasons:
            self.lost_regions[reason] += 1
            self._name("dropped", "region", name, reason, detail)

    def changed(self, name: str, reasons: Iterable[tuple[str, str]]) -> None:
        """Count regions of a picture that are used in part, or not as they were."""
        for reason, detail in reasons:
            self.changed_regions[reason] += 1
            self._name("changed", "region", name, reason, detail)

    def add(self, name: str, remarks: Remarks) -> None:
        """Count what a reader noted of a picture, or of a file."""
        self.of_picture(name, remarks.lost)
        self.changed(name, remarks.changed)

    def _name(self, verb: str, kind: str, name: str, reason: str, detail: str) -> None:
        entry = {verb: kind, "of" if kind == "region" else "name": name, "reason": reason}
        entry |= {"detail": detail} if detail else {}
        self._all.write(json.dumps(entry, ensure_ascii=True).encode() + b"\n")
        what = f"{name}: {detail}" if detail else name
        named = self.named.setdefault(reason, [])
        if len(named) < NAMED and what not in named:
            named.append(what)

    @property
    def count(self) -> int:
        """How many pictures and regions are named."""
        counters = (self.lost_pictures, self.lost_regions, self.changed_regions)
        return sum(sum(counter.values()) for counter in counters)

    def counts(self) -> dict[str, int]:
        """How often each reason was met."""
        return dict(self.lost_pictures + self.lost_regions + self.changed_regions)

    def report(self) -> dict[str, Any]:
        """The counts and some examples, as JSON has it."""
        report = {
            "pictures": self.pictures,
            "regions": self.regions,
            "dropped_pictures": dict(self.lost_pictures.most_common()),
            "dropped_regions": dict(self.lost_regions.most_common()),
            "such_as": self.named,
        }
        changed = dict(self.changed_regions.most_common())
        return report | ({"changed_regions": changed} if changed else {})

    def lines(self) -> list[str]:
        """The counts and an example of each reason, for people."""
        kept = f"{self.pictures} {self.nouns[0]} with {self.regions} {self.nouns[1]}"
        return [kept, *self.losses()]

    def losses(self) -> list[str]:
        """The same, without what is kept."""
        lines = []
        for what, lost in (
            (f"dropped {{}} {self.nouns[0]}", self.lost_pictures),
            (f"dropped {{}} {self.nouns[1]}", self.lost_regions),
            (f"changed {{}} {self.nouns[1]}", self.changed_regions),
        ):
            lines += [
                f"{what.format(count)}: {reason} (such as {self.named[reason][0]})"
                for reason, count in lost.most_common()
            ]
        return lines

    def write(self, path: Path) -> None:
        """Write all that is named, each with its reason, as JSON lines; nothing is no file.

        Raises:
            OutputError: the file cannot be written.
        """
        if self.count:
            write_files({path: self.copy_to})
        else:
            path.unlink(missing_ok=True)

    def copy_to(self, path: Path) -> None:
        """Write all that is named to a file, as `grounding.files.write_files` wants it."""
        path.write_bytes(self._all.getbuffer())

    def refuse(self, data: object) -> None:
        """Refuse data of which something would be lost or changed, as `--strict` says.

        Raises:
            PromptError: naming the first and the count.
        """
        if self.count:
            raise PromptError(
                f"{data}: --strict, and {self.count} entries are not usable as they are{self.why()}"
            )

    def why(self) -> str:
        """What is added to the message that nothing is left: the first that is named."""
        if not self.count:
            return ""
        first = json.loads(self._all.getvalue().partition(b"\n")[0])
        name, detail = first.get("of") or first.get("name"), first.get("detail", "")
        return f"; the first: {name}: {first['reason']}{f' ({detail})' if detail else ''}"
