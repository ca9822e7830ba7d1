"""What things are called: one name for one thing, however different hands wrote it."""

from collections.abc import Collection, Iterable

from grounding.planning.lexicon import singular
from seem.vocabulary import BACKGROUND, spoken_name
from seem.words import plain_words

__all__ = ["speak_names"]


def speak_names(names: Iterable[str], known: Collection[str] = ()) -> dict[str, str | None]:
    """Say names as people do, and alike where they mean the same.

    Case, spaces, underscores and COCO's bookkeeping do not count; "robots" are "robot" where there
    is a "robot" too.

    Args:
        names: As they are written.
        known: Names that a model has.

    Returns:
        What each is called; None: it says nothing ("", "background").
    """
    said = {name: _speak(name) for name in names}
    there = {*said.values(), *known}
    for name, spoken in said.items():
        *others, last = (spoken or " ").split(" ")
        single = " ".join((*others, singular(last) or last))
        if single in there:
            said[name] = single
    return said


def _speak(name: str) -> str | None:
    text = spoken_name(name).replace("_", " ")
    spoken = plain_words(text) if text.strip() else BACKGROUND
    return None if spoken == BACKGROUND else spoken
