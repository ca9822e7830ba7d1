"""A caption as a row of words and of sequences that mean something by themselves: "left of"."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from grounding.planning.lexicon import MARKS, NAMES_OF_PICTURES, REQUESTS

__all__ = ["Item", "items_of"]

_TOKEN = re.compile(r"\w+(?:['’\-]\w+)*|[,;:.!?&]|[^\w\s\"'’“”]")
_LONGEST = max(map(len, MARKS))
_OPENERS = frozenset({"of", "with", "containing", "showing", "depicting", "featuring"})


@dataclass(frozen=True)
class Item:
    """A word, or words that mean something by themselves.

    Attributes:
        kind: As in `grounding.planning.lexicon.MARKS`; "word" or "odd" for what is not there.
        value: What it means, if its kind does not say it all.
        text: As it stands.
    """

    kind: str
    value: str
    text: str


def items_of(text: str) -> list[Item]:
    """Cut a caption up, without what only asks for a picture."""
    return _joined(_tokens(text))


def _tokens(text: str) -> list[str]:
    """Lower-case words and marks, without "draw a photo of"."""
    tokens = [token.replace("’", "'") for token in _TOKEN.findall(text.lower())]
    while tokens and tokens[0] in REQUESTS:
        tokens = tokens[1:]
    for index, (first, second) in enumerate(zip(tokens[:6], tokens[1:7], strict=False)):
        if first in NAMES_OF_PICTURES and second in _OPENERS:
            return tokens[index + 2 :]
    return tokens


def _joined(tokens: Sequence[str]) -> list[Item]:
    """Join the longest sequences that mean something."""
    items, place = [], 0
    while place < len(tokens):
        for length in range(min(_LONGEST, len(tokens) - place), 0, -1):
            words = tuple(tokens[place : place + length])
            if words in MARKS:
                kind, value = MARKS[words]
                items.append(Item(kind, value, " ".join(words)))
                break
        else:
            length = 1
            items.append(_item(tokens[place], items[-1].kind if items else ""))
        place += length
    return items


def _item(token: str, before: str) -> Item:
    """A word, a number of things ("30 dogs", not "a 1950 car"), or neither."""
    if token.isdecimal() and before not in ("word", "count"):
        return Item("count", str(int(token)), token) if int(token) else Item("absent", "", token)
    return Item("word" if re.match(r"\w", token) else "odd", "", token)
