"""Verdict: what is right and wrong about a picture."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from grounding.prompt import GroundedPrompt

__all__ = ["Finding", "Verdict"]


class Finding(NamedTuple):
    """One thing that is wrong.

    Attributes:
        kind: "missing", "misplaced", "wrong", "unlike": a planned region; "extra": something found;
            "relation": how regions stand to each other.
        about: The id of that region, of the plan or of what was found; "" of a relation.
        text: In words.
    """

    kind: Literal["missing", "misplaced", "wrong", "unlike", "extra", "relation"]
    about: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is right about a picture.

    Attributes:
        found: What is on it: names, boxes, scores.
        findings: What is wrong, the worst first.
        score: The more is right, the higher; 1 if all of it is.
    """

    found: GroundedPrompt
    findings: tuple[Finding, ...] = ()
    score: float

    @property
    def wrong(self) -> tuple[str, ...]:
        """Ids of the planned regions that are missing, misplaced or wrong."""
        about = (one.about for one in self.findings if one.kind not in ("extra", "relation"))
        return tuple(dict.fromkeys(about))

    @property
    def extra(self) -> tuple[str, ...]:
        """Ids of what was found and should not be there."""
        return tuple(one.about for one in self.findings if one.kind == "extra")

    @property
    def is_right(self) -> bool:
        """Whether nothing is to be repaired."""
        return not self.findings

    @property
    def told(self) -> tuple[str, ...]:
        """The findings in words."""
        return tuple(one.text for one in self.findings)
