"""Reading a caption: "three lava llamas left of a volcano, no trees" -> `SceneGraph`.

A reader of plain English noun phrases, no parser of all English. A noun phrase is a determiner or
a number, attributes, a noun; it may be any noun. Noun phrases are joined by "and", commas, "with",
and by prepositions of place; a preposition joins the two noun phrases beside it, and after "and"
or a comma it speaks of the subject before. What does not fit is listed as unread, not guessed.
"""

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, replace

from grounding.errors import PromptError
from grounding.planning.items import Item, items_of
from grounding.planning.lexicon import (
    ATTRIBUTES,
    CONTAINERS,
    GROUNDS,
    ING_NOUNS,
    singular,
)
from grounding.planning.scene_graph import Bond, SceneGraph, Thing

__all__ = ["MAX_CAPTION", "MAX_THINGS", "read_caption", "read_phrase"]

MAX_CAPTION = 4000  # characters
MAX_THINGS = 100  # instances

_KINDS = {word: kind for kind, words in ATTRIBUTES.items() for word in words}
_MATERIALS = frozenset(ATTRIBUTES["material"])
_GROUND_LEADS = frozenset({"in", "on", "at", "in front of", "below", "above", "inside"})
_BEGINS = frozenset({"word", "count", "the", "whose"})  # kinds that a noun phrase begins with


def read_caption(text: str, names: Collection[str] = ()) -> SceneGraph:
    """Read what a caption asks for.

    Args:
        text: In English; upper and lower case are the same.
        names: Nouns that are known in this very form, such as "cherries" for a model that was
            taught that word.

    Raises:
        PromptError: the caption is too long, or asks for too many things.
    """
    if len(text) > MAX_CAPTION:
        raise PromptError(f"a caption of {len(text)} characters; at most {MAX_CAPTION} are read")
    graph = _Reader(items_of(text), frozenset(names)).graph()
    total = sum(thing.count for thing in graph.things)
    if total > MAX_THINGS:
        raise PromptError(f"the caption asks for {total} things; at most {MAX_THINGS} are planned")
    foreign = _other_scripts(text)
    return replace(graph, unread=(*graph.unread, *foreign)) if foreign else graph


def _other_scripts(text: str) -> list[str]:
    """Runs of words in other letters than English has, which are no noun that is known."""
    runs: list[list[str]] = [[]]
    for word in text.split():
        letters = [character for character in word if character.isalpha()]
        if any(not unicodedata.name(letter, "").startswith("LATIN") for letter in letters):
            runs[-1].append(word)
        elif runs[-1]:
            runs.append([])
    return [" ".join(run) for run in runs if run]


def read_phrase(phrase: str, names: Collection[str] = ()) -> Thing | None:
    """Read one noun phrase, such as a region's "lava llama"; None if it is none."""
    things = read_caption(phrase[:MAX_CAPTION], names).things
    return things[0] if things else None


@dataclass
class _Phrase:
    """A noun phrase as it stands."""

    count: str | None  # "2", "2+"; None: not said
    definite: bool
    words: list[str]
    text: str
    verb: str = ""  # after the noun, not understood
    material: str = ""  # "of lava"
    owned: bool = False  # "it", "its head": who is meant is not known

    @property
    def bare(self) -> bool:
        return self.count is None and not self.definite


class _Reader:
    """Goes through the items once, from left to right."""

    def __init__(self, items: list[Item], names: frozenset[str]) -> None:
        self.items, self.names, self.place = items, names, 0
        self.things: list[Thing] = []
        self.bonds: list[Bond] = []
        self.absent: list[str] = []
        self.unread: list[str] = []
        self.background: list[str] = []
        self.subject: int | None = None  # what a relation would speak of
        self.earlier: int | None = None  # the subject of the relation before
        self.waiting: list[str] = []  # places on the canvas whose thing is still to come
        self.denied: _Phrase | None = None  # the first of what is being denied
        self.denying = False

    def graph(self) -> SceneGraph:
        while self.place < len(self.items):
            item = self.items[self.place]
            read = getattr(self, f"_read_{item.kind.replace(' ', '_')}", None)
            if read is None:
                self.place += 1
                self._give_up(item.text)
            else:
                read(item)
        self.unread += self.waiting
        return SceneGraph(
            things=tuple(self.things),
            bonds=tuple(dict.fromkeys(self.bonds)),
            absent=tuple(dict.fromkeys(self.absent)),
            background=" ".join(self.background),
            unread=tuple(self.unread),
        )

    def _read_word(self, item: Item) -> None:
        del item
        before = self._kind(self.place - 1)
        phrase = self._phrase()
        if self.denying and self._denies(phrase, before):
            self.absent.append(self._thing(phrase).phrase)
            self.denied = self.denied or phrase
            self.subject = None
            return
        self.denying, self.denied = False, None
        if before == "is" and self._describes(phrase):
            return
        self.earlier = None
        self.subject = self._refer(phrase)
        if self.subject is not None:
            self.bonds += [Bond(subject=self.subject, predicate=one) for one in self.waiting]
            self.waiting = []

    _read_count = _read_the = _read_whose = _read_word

    def _read_relation(self, item: Item) -> None:
        after_joint = self._kind(self.place - 1) in ("and", "comma")
        self.place += 1
        subject = self.earlier if after_joint and self.earlier is not None else self.subject
        if self._kind(self.place) not in _BEGINS:
            self._give_up(item.text)
            return
        phrase = self._phrase()
        last = _single(phrase.words[-1]) if phrase.words else ""
        if item.value in _GROUND_LEADS and last in GROUNDS:
            self.background.append(f"{item.text} {phrase.text}")
            return
        predicate = item.value
        if predicate == "in" and last in CONTAINERS:
            predicate = "inside"
        known = predicate not in ("in", "at") and subject is not None and not self.denying
        if not known:
            self.unread.append(item.text)
        other = self._refer(phrase)
        self.denying, self.denied = False, None
        others = self._pair(other) if predicate == "between" else (other,)
        if known and other is not None and None not in others:
            assert subject is not None
            known_others = tuple(one for one in others if one is not None)
            self.bonds.append(Bond(subject=subject, predicate=predicate, others=known_others))
        elif known:
            self.unread.append(item.text)
        self.earlier, self.subject = subject, other

    def _pair(self, first: int | None) -> tuple[int | None, ...]:
        """The two that something is between: "a dog and a cat", or "two trees"."""
        if first is not None and self.things[first].count > 1:
            return first, first
        if self._kind(self.place) == "and" and self._kind(self.place + 1) in _BEGINS:
            self.place += 1
            return first, self._refer(self._phrase())
        return first, None

    def _read_place(self, item: Item) -> None:
        before, after = self._kind(self.place - 1), self._kind(self.place + 1)
        self.place += 1
        sides = item.value.split(",")
        leads = before in ("", "and", "comma", "stop") and after in ("comma", "is", "count", "the")
        subject = self.subject
        if before in ("and", "comma") and self.earlier is not None:
            subject = self.earlier
        if subject is None or leads:
            self.waiting += sides
        else:
            self.bonds += [Bond(subject=subject, predicate=side) for side in sides]
            self.earlier = subject

    def _read_absent(self, item: Item) -> None:
        del item
        self.place += 1
        self.denying, self.denied = True, None

    def _read_made_of(self, item: Item) -> None:
        self.place += 1
        if self._kind(self.place) != "word" or self.subject is None:
            self._give_up(item.text)
            return
        words = self._phrase().words
        thing = self.things[self.subject]
        pairs = tuple(("material", word) for word in words)
        self.things[self.subject] = replace(thing, attributes=(*pairs, *thing.attributes))

    def _read_of(self, item: Item) -> None:
        self.place += 1
        rest = self._phrase().text if self._kind(self.place) in _BEGINS else ""
        self._give_up(f"{item.text} {rest}".rstrip())

    def _read_stop(self, item: Item) -> None:
        del item
        self.place += 1
        self.subject = self.earlier = self.denied = None
        self.denying = False

    def _read_and(self, item: Item) -> None:
        del item
        self.place += 1

    _read_comma = _read_or = _read_is = _read_and

    def _give_up(self, words: str) -> None:
        """List words as unread; what follows cannot speak of what came before."""
        self.unread.append(words)
        self.subject = None

    def _kind(self, place: int) -> str:
        return self.items[place].kind if 0 <= place < len(self.items) else ""

    def _phrase(self) -> _Phrase:
        """Read a noun phrase from here on."""
        phrase, start = _Phrase(None, False, [], ""), self.place
        if self._kind(self.place) == "whose":
            phrase.owned = True
            self.place += 1
        if self._kind(self.place) in ("count", "the"):
            phrase.definite = self._kind(self.place) == "the"
            phrase.count = None if phrase.definite else self.items[self.place].value
            self.place += 1
            if phrase.definite and self._kind(self.place) == "count":
                phrase.count = self.items[self.place].value
                self.place += 1
        while self._kind(self.place) == "word" or self._goes_on(phrase.words):
            if self._kind(self.place) == "word":
                phrase.words.append(self.items[self.place].text)
            self.place += 1
        if phrase.words and self._kind(self.place) == "of" and self._kind(self.place + 1) == "word":
            self._of(phrase)
        if len(phrase.words) > 1 and self._is_verb(phrase.words[-1]):
            phrase.verb = phrase.words.pop()
        phrase.text = " ".join(item.text for item in self.items[start : self.place])
        return phrase

    def _of(self, phrase: _Phrase) -> None:
        """Read "of lava", "of fruit"."""
        rest = []
        self.place += 1
        while self._kind(self.place) == "word":
            rest.append(self.items[self.place].text)
            self.place += 1
        holds = phrase.words[-1] in CONTAINERS
        if len(rest) == 1 and rest[0] in _MATERIALS and not holds:
            phrase.material = rest[0]
        else:
            phrase.words = [*phrase.words[:-1], " ".join((phrase.words[-1], "of", *rest))]

    def _goes_on(self, words: list[str]) -> bool:
        """Whether "and" or a comma stands between attributes: "black and white cat"."""
        after = self.items[self.place + 1].text if self._kind(self.place + 1) == "word" else ""
        joint = self._kind(self.place) in ("and", "comma")
        return joint and bool(words) and all(w in _KINDS for w in words) and after in _KINDS

    def _is_verb(self, word: str) -> bool:
        """Whether the last word of a phrase tells what the noun does."""
        if word in self.names or word in _KINDS:
            return False
        if word.endswith("ing"):
            return word not in ING_NOUNS
        transitive = self._kind(self.place) in ("count", "the")
        return transitive and word.endswith(("s", "ed")) and not word.endswith("ss")

    def _denies(self, phrase: _Phrase, before: str) -> bool:
        """Whether a phrase goes on with what must not be there."""
        if self.denied is None or before == "or":
            return bool(phrase.words)
        alike = phrase.bare == self.denied.bare
        return alike and (before == "and" or (before == "comma" and phrase.bare))

    def _describes(self, phrase: _Phrase) -> bool:
        """Read "is red", "is running"; tells whether it was one of these."""
        if not phrase.bare or self.subject is None:
            return False
        if phrase.words and all(word in _KINDS for word in phrase.words):
            thing = self.things[self.subject]
            pairs = tuple((_KINDS[word], word) for word in phrase.words)
            self.things[self.subject] = replace(thing, attributes=(*thing.attributes, *pairs))
            return True
        if all(self._is_verb(word) for word in phrase.words):
            self.unread.append(phrase.text)
            return True
        return False

    def _refer(self, phrase: _Phrase) -> int | None:
        """The index of what a phrase names: something known, or new; None: it is not understood."""
        if phrase.verb:
            self.unread.append(phrase.verb)
        if (
            not phrase.words
            or phrase.owned
            or (phrase.bare and all(map(self._is_verb, phrase.words)))
        ):
            self._give_up(phrase.text)
            return None
        thing = self._thing(phrase)
        if phrase.definite:
            known = [
                index
                for index, other in enumerate(self.things)
                if other.noun == thing.noun and set(thing.attributes) <= set(other.attributes)
            ]
            if len(known) == 1:
                return known[0]
            if known:
                self._give_up(phrase.text)
                return None
        self.things.append(thing)
        return len(self.things) - 1

    def _thing(self, phrase: _Phrase) -> Thing:
        words = list(phrase.words)
        attributes = []
        while len(words) > 1 and words[0] in _KINDS and " ".join(words) not in self.names:
            attributes.append((_KINDS[words[0]], words.pop(0)))
        if phrase.material:
            attributes.insert(0, ("material", phrase.material))
        noun = " ".join(words)
        one = None if noun in self.names else _single(noun, strict=True)
        count, exact = 1, True
        if phrase.count is not None:
            count, exact = int(phrase.count.rstrip("+")), not phrase.count.endswith("+")
        elif one is not None:
            count, exact = 2, False
        if one is not None and (count > 1 or not exact):
            noun = one
        return Thing(noun=noun, attributes=tuple(attributes), count=count, exact=exact)


def _single(noun: str, *, strict: bool = False) -> str | None:
    """The singular of a noun of one or more words; "bowls of fruit" -> "bowl of fruit".

    Args:
        noun: Ends with its head, or the head stands before "of".
        strict: Return None for what is no plural, not the noun itself.
    """
    head, of, rest = noun.partition(" of ")
    first, space, last = head.rpartition(" ")
    one = singular(last)
    if one is None:
        return None if strict else noun
    return f"{first}{space}{one}{of}{rest}"
