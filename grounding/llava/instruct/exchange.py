"""Exchanges: questions and answers, read out of what a teacher wrote.

    question
    ===
    answer
    ===
    question ...

Labels such as "Question:" and fences around the whole are taken off; anything else that does not
fit is an error, not a guess. The text is searched, never evaluated.
"""

import re
from dataclasses import dataclass

from grounding.errors import AnswerError

__all__ = ["Exchange", "read_answer", "read_exchanges"]

SEPARATOR = re.compile(r"^[ \t]*={3,}[ \t]*$", re.MULTILINE)
LABEL = re.compile(
    r"^[\s*_#>-]*(?:"
    r"(?P<who>question|answer|q|a|user|human|person|assistant|gpt)[ \t]*(?:\d{1,2}[ \t]*[:.)]|\**:)"
    r"|(?P<alone>question|answer)[ \t]*\d{0,2}[\s*_]*$)[\s*_]*",
    re.IGNORECASE,
)
ASKERS = frozenset({"question", "q", "user", "human", "person"})
FENCE = re.compile(r"\A\s*```\w*\n(.*)\n```\s*\Z", re.DOTALL)
LONGEST_QUESTION = 600  # characters
LONGEST_ANSWER = 6000
MOST = 16  # exchanges


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A question and its answer."""

    question: str
    answer: str


def read_exchanges(text: str) -> list[Exchange]:
    """Read a conversation.

    Raises:
        AnswerError: It is no sequence of questions and answers.
    """
    parts = [_part(part) for part in SEPARATOR.split(_bare(text))]
    parts = [(who, words) for who, words in parts if words]
    if len(parts) < 2:
        raise AnswerError("expected questions and answers with === between them; got none")
    if len(parts) % 2:
        raise AnswerError("expected an answer to each question; the last has none")
    for place, (who, _) in enumerate(parts):
        if who is not None and (who in ASKERS) == bool(place % 2):
            raise AnswerError("expected question and answer by turns; got two of one kind")
    if len(parts) > 2 * MOST:
        raise AnswerError(f"expected at most {MOST} questions; got {len(parts) // 2}")
    words = [_folded(words) for _, words in parts]
    pairs = zip(words[::2], words[1::2], strict=True)
    exchanges = [Exchange(question=question, answer=answer) for question, answer in pairs]
    for exchange in exchanges:
        _check(exchange)
    return exchanges


def read_answer(text: str, question: str) -> list[Exchange]:
    """Read an answer alone, to a question of ours.

    Raises:
        AnswerError: There is none, or it is in several parts.
    """
    parts = [words for _, words in map(_part, SEPARATOR.split(_bare(text))) if words]
    if len(parts) != 1:
        raise AnswerError(f"expected an answer alone; got {len(parts)} parts")
    exchange = Exchange(question=question, answer=_folded(parts[0]))
    _check(exchange)
    return [exchange]


def _bare(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    fenced = FENCE.match(text)
    return fenced[1] if fenced else text


def _part(text: str) -> tuple[str | None, str]:
    """Who speaks, if it is said, and what."""
    text = text.strip()
    label = LABEL.match(text)
    if label is None:
        return None, text
    return (label["who"] or label["alone"]).lower(), text[label.end() :].strip()


def _folded(text: str) -> str:
    """Without spaces at the ends of lines; of empty lines one at most."""
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _check(exchange: Exchange) -> None:
    for what, text, most in (
        ("question", exchange.question, LONGEST_QUESTION),
        ("answer", exchange.answer, LONGEST_ANSWER),
    ):
        if not re.search(r"\w", text):
            raise AnswerError(f"expected words in each {what}; got none")
        if len(text) > most:
            raise AnswerError(f"expected a {what} of at most {most} characters; got {len(text)}")
        if "\ufffd" in text or any(ord(c) < 32 and c != "\n" for c in text):
            raise AnswerError(f"expected text in each {what}; got control characters")
        if "<image>" in text:
            raise AnswerError(f"expected words in each {what}; got the mark <image>")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise AnswerError(f"expected text in each {what}; got a lone surrogate") from None
