"""SceneGraph: what a caption asks for, as things, how they stand to each other, what is not there.

Scene graphs are those of Johnson et al., "Image Retrieval using Scene Graphs", CVPR 2015: objects
with attributes, and relations between them; here with numbers and absences.
"""

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Bond", "SceneGraph", "Slot", "Thing"]


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something that is asked for, once or several times.

    Attributes:
        noun: In the singular, without attributes: "llama".
        attributes: (kind, word) pairs in order: `(("material", "lava"),)`; the kinds are those of
            `grounding.planning.lexicon.ATTRIBUTES`.
        count: How many, 1 or more.
        exact: Whether more are too many; "llamas" and "some llamas" are at least two.
    """

    noun: str
    attributes: tuple[tuple[str, str], ...] = ()
    count: int = 1
    exact: bool = True

    @property
    def phrase(self) -> str:
        """Attributes and noun: "lava llama", "black and white cat"."""
        words: list[str] = []
        before = ""
        for kind, word in self.attributes:
            words += ["and", word] if kind == before == "colour" else [word]
            before = kind
        return " ".join((*words, self.noun))

    @property
    def number(self) -> str:
        """In words for people: "3 x lava llama", "at least 2 x llama"."""
        return f"{'' if self.exact else 'at least '}{self.count} x {self.phrase}"


@dataclass(frozen=True, kw_only=True)
class Bond:
    """How a thing stands to others, or to the canvas.

    Attributes:
        subject: Index of the thing.
        predicate: One of `grounding.planning.relations.PREDICATES`.
        others: Indices of the things it stands so to: none for a place on the canvas ("at left"),
            two for "between", else one.
    """

    subject: int
    predicate: str
    others: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One instance of a thing: the second of three llamas.

    Attributes:
        thing: Index of the thing.
        place: 0, 1, 2, ... among its instances.
    """

    thing: int
    place: int


@dataclass(frozen=True, kw_only=True)
class SceneGraph:
    """All that a caption asks for.

    Attributes:
        things: In order of mention.
        bonds: In order of mention; they speak of all instances of a thing.
        absent: Phrases of what must not be there.
        background: What lies behind, as it is said: "on a beach".
        unread: Words that were not understood and ask for nothing here.
    """

    things: tuple[Thing, ...] = ()
    bonds: tuple[Bond, ...] = ()
    absent: tuple[str, ...] = ()
    background: str = ""
    unread: tuple[str, ...] = ()

    def slots(self) -> Iterator[Slot]:
        """Each instance of each thing, in order."""
        for index, thing in enumerate(self.things):
            for place in range(thing.count):
                yield Slot(thing=index, place=place)

    def say(self, bond: Bond) -> str:
        """A bond in words: "llama left of volcano"."""
        others = " and ".join(self.things[other].phrase for other in bond.others)
        return f"{self.things[bond.subject].phrase} {bond.predicate} {others}".rstrip()
