"""What an answer says. The rules are lenient, and the same for every model.

Letters' case, punctuation and what surrounds the answer do not matter. An answer that no rule
understands is None, and counts as wrong.

    yes-no   The first sentence, as POPE reads it: a negation in it (no, not, n't, none, cannot ...)
             means no; anything else means yes; nothing at all is not understood.
    count    The first number, in digits or words up to twenty. Without one: 0 if there is a
             negation, 1 if there is "a", "an" or "single".
    choice   The choice that is named first, as whole words; of two that begin at the same place
             the longer one.
    letter   A or B alone or with ":", "." or ")" at the beginning; else the one of the two captions
             that the answer repeats; else the first "A" or "B" that is no article.
    box      The first box, in the model's dialect.
    caption  All the choices that are named, as whole words, in the singular or the plural; a longer
             one hides those inside it ("hot dog" names no dog).
"""

import re
from collections.abc import Mapping, Sequence

__all__ = ["named", "read_choice", "read_count", "read_letter", "read_yes_no"]

NEGATION = re.compile(r"\b(?:no|not|none|nothing|never|neither|cannot|without)\b|n['’]t\b")
SENTENCE = re.compile(r"[.!?\n]")
NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    *("nineteen", "twenty"),
)
NUMBER = re.compile(rf"(?<![\w.])(?:(\d{{1,6}})|({'|'.join(reversed(NUMBERS))}))(?!\w)")
ONE = re.compile(r"\b(?:an?|single)\b")
LETTER = re.compile(r"[\s\"'(*]*([ab])[\s\"'*]*(?:[:.)]|$)", re.IGNORECASE)
LONE_LETTER = re.compile(r"\b([AB])\b(?!\s+[a-z])")


def read_yes_no(answer: str) -> bool | None:
    """Whether an answer agrees."""
    words = answer.lower().strip(" \t\r\n.,!?:;\"'*")
    if not words:
        return None
    return NEGATION.search(SENTENCE.split(words)[0]) is None


def read_count(answer: str) -> int | None:
    """The number that an answer says."""
    words = answer.lower()
    found = NUMBER.search(words)
    if found:
        return int(found[1]) if found[1] else NUMBERS.index(found[2])
    if NEGATION.search(words):
        return 0
    return 1 if ONE.search(words) else None


def read_choice(
    answer: str, choices: Sequence[str], said: Mapping[str, Sequence[str]] | None = None
) -> str | None:
    """The choice that an answer names first.

    Args:
        answer: As it came.
        choices: What can be chosen.
        said: Other words for choices, by choice.
    """
    words = _plain(answer)
    found = [
        (match.start(), -match.end(), choice)
        for choice in choices
        for name in (choice, *(said or {}).get(choice, ()))
        if (match := re.search(_whole(_plain(name)), words))
    ]
    return min(found)[2] if found else None


def read_letter(answer: str, captions: Sequence[str]) -> str | None:
    """Which of two captions an answer takes: "A" or "B"."""
    found = LETTER.match(answer)
    if found:
        return found[1].upper()
    repeated = [_plain(caption) in _plain(answer) for caption in captions]
    if sum(repeated) == 1:
        return "AB"[repeated.index(True)]
    lone = LONE_LETTER.search(answer)
    return lone[1] if lone else None


def named(answer: str, choices: Sequence[str]) -> tuple[str, ...]:
    """All choices that an answer names, in its order, each once."""
    words = _plain(answer)
    found = [
        (match.start(), -match.end(), choice)
        for choice in choices
        for match in re.finditer(_whole(_plain(choice), plural=True), words)
    ]
    names: dict[str, None] = {}
    end = 0
    for start, minus_end, choice in sorted(found):
        if start >= end:
            names[choice] = None
            end = -minus_end
    return tuple(names)


def _plain(text: str) -> str:
    """Words in lower case, with single spaces and no punctuation between them."""
    return " ".join(re.findall(r"[\w'’-]+", text.lower()))


def _whole(words: str, *, plural: bool = False) -> str:
    """A pattern of whole words; with `plural`, the last may be so."""
    head, last = words[: words.rfind(" ") + 1], words.rsplit(" ", 1)[-1]
    body = re.escape(last)
    if plural:
        body = f"{body}(?:s|es)?" + (f"|{re.escape(last[:-1])}ies" if last.endswith("y") else "")
    return rf"(?<!\w){re.escape(head)}(?:{body})(?!\w)"
