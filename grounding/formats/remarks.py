"""What a reader of other people's annotations left out or changed, and where."""

from dataclasses import dataclass, field

__all__ = ["Remarks"]

Remark = tuple[str, str]  # a reason, the same for all of its kind; what is said of this one


@dataclass
class Remarks:
    """Remarks on the annotations of a picture, or of a file.

    Attributes:
        lost: Of each region that was left out, the reason and its place in the file.
        changed: The same of each region that was kept in part, or not as it was.
    """

    lost: list[Remark] = field(default_factory=list)
    changed: list[Remark] = field(default_factory=list)

    def lose(self, reason: str, detail: str = "") -> None:
        """Note that a region is left out."""
        self.lost.append((reason, detail))

    def change(self, reason: str, detail: str = "") -> None:
        """Note that a region is kept in part, or not as it was."""
        self.changed.append((reason, detail))

    def lines(self) -> list[str]:
        """One line for each reason, with its count and the first place."""
        lines = []
        for remarks, what in ((self.lost, "left out"), (self.changed, "changed")):
            firsts: dict[str, str] = {}
            for reason, detail in remarks:
                firsts.setdefault(reason, detail)
            for reason, detail in firsts.items():
                count = sum(1 for other, _ in remarks if other == reason)
                lines.append(f"{count} {what}: {reason}{f' ({detail})' if detail else ''}")
        return lines
