"""What must be true of a picture beyond its boxes: numbers, attributes, places, absence.

The four tasks of LLM-grounded Diffusion (Lian et al., arXiv 2305.13655, section 4), told from what
a detector finds.
"""

from dataclasses import dataclass
from typing import Protocol

from gligen.evaluation.detection import Detector, View, certain

__all__ = ["SIDES", "Absent", "Bound", "Claim", "Counted", "Placed"]

# How the subject's centre lies to the other's: axis (0: x, 1: y) and sign of the difference.
SIDES = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}


class Claim(Protocol):
    """Something that a picture shows or does not."""

    @property
    def nouns(self) -> tuple[str, ...]:
        """What a detector is asked for to tell."""
        ...

    def holds(self, view: View, detector: Detector) -> bool:
        """Tell whether the picture shows it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Counted:
    """There are just so many of something.

    Attributes:
        noun: Of what.
        number: How many.
    """

    noun: str
    number: int

    @property
    def nouns(self) -> tuple[str, ...]:
        """The noun."""
        return (self.noun,)

    def holds(self, view: View, detector: Detector) -> bool:
        """As many are found, no more and no fewer."""
        return len(certain(view, detector, self.noun)) == self.number


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Each attribute belongs to its own object.

    Attributes:
        pairs: (attribute, noun) of each object.
        choices: Every attribute that could be confused with them.
    """

    pairs: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]

    @property
    def nouns(self) -> tuple[str, ...]:
        """The nouns."""
        return tuple(dict.fromkeys(noun for _, noun in self.pairs))

    def holds(self, view: View, detector: Detector) -> bool:
        """Of each pair one object is found that has the attribute."""
        return all(
            any(
                view.attribute(found.box, noun, self.choices) == attribute
                for found in certain(view, detector, noun)
            )
            for attribute, noun in self.pairs
        )


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One object lies on a side of another.

    Attributes:
        subject: What lies there.
        side: One of `SIDES`.
        other: Beside what.
    """

    subject: str
    side: str
    other: str

    @property
    def nouns(self) -> tuple[str, ...]:
        """Subject and other."""
        return self.subject, self.other

    def holds(self, view: View, detector: Detector) -> bool:
        """Both are found, and the centres of the most certain two lie so."""
        subjects = certain(view, detector, self.subject)
        others = certain(view, detector, self.other)
        if not subjects or not others:
            return False
        axis, sign = SIDES[self.side]
        first, second = subjects[0].box, others[0].box
        return sign * (first[axis] + first[axis + 2] - second[axis] - second[axis + 2]) > 0


@dataclass(frozen=True, kw_only=True)
class Absent:
    """Something is missing, while the rest is there: a blank picture does not pass.

    Attributes:
        noun: What must not be there.
        present: What must be.
    """

    noun: str
    present: tuple[str, ...]

    @property
    def nouns(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.present, self.noun)

    def holds(self, view: View, detector: Detector) -> bool:
        """The rest is found, and it is not."""
        there = all(certain(view, detector, noun) for noun in self.present)
        return there and not certain(view, detector, self.noun)
