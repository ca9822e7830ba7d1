"""The line language of edits: `move r1 0.2,0.1` -> `Move(region="r1", by=(0.2, 0.1))`.

A line is a verb, what it is about, and settings `name=value`, in the manner of a shell: words with
blanks in them are quoted, and what follows a # is a comment.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grounding.errors import PromptError
from grounding.jsonfile import describe, parse_json
from grounding.region import Point
from pipelines.edit.add import Add
from pipelines.edit.history import Edit, edit_of
from pipelines.edit.move import Move
from pipelines.edit.recolour import Recolour
from pipelines.edit.remove import Remove
from pipelines.edit.replace import Replace
from pipelines.edit.select import Select

__all__ = ["Command", "read_line", "read_script"]

Command = Literal["undo", "redo"]


@dataclass(frozen=True)
class _Said:
    """The words of a line after its verb, and its settings."""

    words: tuple[str, ...]
    settings: dict[str, Any]


def read_line(line: str) -> Edit | Command:
    """Read one line.

    Raises:
        PromptError: it is not understood; says what the verb needs.
    """
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise PromptError(f"{describe(line)}: {str(error).lower()}") from None
    if not words:
        raise PromptError("the line is empty; help lists what can be said")
    verb, *rest = words
    if verb in ("undo", "redo"):
        if rest:
            raise PromptError(f"{verb} stands alone; got {describe(' '.join(rest))} after it")
        return "undo" if verb == "undo" else "redo"
    if verb not in _VERBS:
        raise PromptError(
            f"{describe(verb)} is no edit: {', '.join(_VERBS)}, undo, redo; help says more"
        )
    said = _said(rest)
    try:
        return _VERBS[verb](said)
    except PromptError as error:
        raise PromptError(f"{verb}: {error}") from None


def read_script(text: str) -> list[Edit | Command]:
    """Read a script: lines; or a JSON list of lines and of steps such as {"do": "remove"}.

    Raises:
        PromptError: an entry is not understood; says which.
    """
    if not text.lstrip().startswith("["):
        return [
            _at(f"line {number}", read_line, line)
            for number, line in enumerate(text.splitlines(), start=1)
            if line.split("#")[0].strip()
        ]
    entries = parse_json(text)
    assert isinstance(entries, list), "what begins with a bracket is a list"
    return [
        _at(f"[{number}]", read_line if isinstance(entry, str) else edit_of, entry)
        for number, entry in enumerate(entries)
    ]


def _at(place: str, read: Callable[[Any], Edit | Command], entry: Any) -> Edit | Command:
    try:
        return read(entry)
    except PromptError as error:
        raise PromptError(f"{place}: {error}") from None


def _said(words: Sequence[str]) -> _Said:
    plain, settings = [], {}
    for word in words:
        name, mark, value = word.partition("=")
        if mark and name.isidentifier():
            settings[name] = _value(value)
        else:
            plain.append(word)
    return _Said(tuple(plain), settings)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _numbers(word: str) -> tuple[float, ...] | None:
    """`0.1,0.2` as numbers; None of anything else."""
    try:
        values = tuple(float(part) for part in word.split(","))
    except ValueError:
        return None
    return values if len(values) > 1 and all(map(math.isfinite, values)) else None


def _target(words: Sequence[str], needs: str) -> str | None:
    if len(words) > 1:
        raise PromptError(f"needs {needs}; got {describe(' '.join(words))}: quote a phrase")
    return words[0] if words else None


def _select(said: _Said) -> Select:
    words, places = [], []
    for word in said.words:
        numbers = _numbers(word)
        places.append((word, numbers)) if numbers else words.append(word)
    everything = bool(words) and words[0] == "all" and len(words) > 1
    phrase = _target(words[1:] if everything else words, '"WORDS", an id, X,Y or X0,Y0,X1,Y1')
    points, box = [], None
    for word, numbers in places:
        if len(numbers) == 4:
            box = numbers
        elif len(numbers) == 2:
            label = 0 if word.startswith("-") else 1
            points.append(Point(xy=(abs(numbers[0]), numbers[1]), label=label))
        else:
            raise PromptError(f"a place is X,Y or X0,Y0,X1,Y1; got {describe(word)}")
    given = {"phrase": phrase, "points": tuple(points), "box": box, "all": everything}
    return Select.model_validate({**given, **said.settings})


def _remove(said: _Said) -> Remove:
    region = _target(said.words, "one region at most")
    return Remove.model_validate({"region": region, **said.settings})


def _move(said: _Said) -> Move:
    *words, last = said.words or ("",)
    numbers = _numbers(last)
    if numbers is None or len(numbers) != 2:
        raise PromptError("ends with RIGHT,DOWN, or with to X,Y, in fractions of the picture")
    how = "by"
    if words and words[-1] == "to":
        how, words = "to", words[:-1]
    region = _target(words, "one region at most")
    return Move.model_validate({"region": region, how: numbers, **said.settings})


def _replace(said: _Said) -> Replace:
    *words, phrase = said.words or ("",)
    region = _target(words, '[REGION] "PHRASE"')
    return Replace.model_validate({"region": region, "phrase": phrase, **said.settings})


def _add(said: _Said) -> Add:
    *words, last = said.words or ("",)
    box = _numbers(last)
    if box is None or len(box) != 4 or not words:
        raise PromptError('needs "PHRASE" X0,Y0,X1,Y1, in fractions of the picture')
    phrase = _target(words, '"PHRASE" X0,Y0,X1,Y1')
    return Add.model_validate({"phrase": phrase, "box": box, **said.settings})


def _recolour(said: _Said) -> Recolour:
    *words, look = said.words or ("",)
    how = "colour"
    if words and words[-1] == "of":
        how, words = "material", words[:-1]
    region = _target(words, "[REGION] COLOUR, or [REGION] of MATERIAL")
    return Recolour.model_validate({"region": region, how: look, **said.settings})


_VERBS: dict[str, Callable[[_Said], Edit]] = {
    "select": _select,
    "remove": _remove,
    "move": _move,
    "replace": _replace,
    "add": _add,
    "recolour": _recolour,
}
