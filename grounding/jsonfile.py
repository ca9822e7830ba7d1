"""Reading JSON that strangers wrote: bounded in size and depth, one clear line per failure."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grounding.errors import PromptError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "describe", "parse_json", "read_json_lines", "read_text"]

MAX_BYTES = 64 * 2**20  # a COCO validation split is 20 MB
MAX_DEPTH = 64  # our own document needs 8

# A string (closed or running to the end of the text) or one bracket.
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def read_text(path: str | Path, max_bytes: int = MAX_BYTES) -> str:
    """Read a UTF-8 text file of at most `max_bytes` bytes.

    Raises:
        PromptError: the file is missing, unreadable, empty, too large or not UTF-8. The message
            does not name the file: callers prefix it.
    """
    with _readable(), Path(path).open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise PromptError(f"is larger than {max_bytes / 2**20:g} MB; split it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"is not UTF-8 text (byte {error.start}); expected JSON, save it as UTF-8"
        ) from None
    if not text.strip():
        raise PromptError('is empty; expected JSON such as [{"phrase": "llama", "box": [...]}]')
    return text


def read_json_lines(
    path: str | Path, max_bytes: int = MAX_BYTES
) -> Iterator[tuple[int, object | PromptError]]:
    """Read JSON lines one by one: UTF-8, with or without a byte order mark.

    A line ends with a line feed and with nothing else (https://jsonlines.org): other characters
    that end lines of text, such as U+2028, stay in their strings. Blank lines are passed over.

    Args:
        path: of the file; it may be of any size.
        max_bytes: of a single line.

    Yields:
        The number of each line, from 1, and its value; or, in the value's place, a `PromptError`
        that says why the line cannot be understood, for the caller to raise or to count. It names
        neither file nor line.

    Raises:
        PromptError: the file, which is named, cannot be read, is empty or not UTF-8.
    """
    number = 0
    try:
        with _readable(), Path(path).open("rb") as file:
            count = 0
            while line := file.readline(max_bytes + 1):
                number += 1
                if len(line) > max_bytes:
                    raise PromptError(f"has more than {max_bytes / 2**20:g} MB; split it")
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    count += 1
                    yield number, _parse_line(text)
            number = 0
            if not count:
                raise PromptError("is empty; expected a JSON value a line")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"{path}: line {number} is not UTF-8 text (byte {error.start}); save the file as UTF-8"
        ) from None
    except PromptError as error:
        raise PromptError(f"{path}: {f'line {number} ' if number else ''}{error}") from None


def parse_json(text: str, *, max_keys: int | None = None) -> object:
    """Parse JSON text of bounded depth. `NaN` and `Infinity` pass: validators name their place.

    Args:
        text: Of any length.
        max_keys: Most keys of one object; None: any number.

    Raises:
        PromptError: not JSON, nested deeper than `MAX_DEPTH`, too many keys, or one appears twice.
    """
    try:
        return _parse(text, max_keys)
    except json.JSONDecodeError as error:
        raise PromptError(
            f"{_invalid(error)} (line {error.lineno}, column {error.colno})"
        ) from None


def _parse_line(text: str) -> object | PromptError:
    """The value of a line, or why it has none."""
    try:
        return _parse(text)
    except json.JSONDecodeError as error:
        cut = "" if text.endswith("\n") else "; the file's last line, cut off?"
        return PromptError(f"{_invalid(error)} (column {error.colno}){cut}")
    except PromptError as error:
        return error


def _invalid(error: json.JSONDecodeError) -> str:
    return f"is not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}"


def _parse(text: str, max_keys: int | None = None) -> object:
    _check_depth(text)

    def check(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if max_keys is not None and len(pairs) > max_keys:
            raise PromptError(f"holds an object of {len(pairs)} keys; at most {max_keys} are read")
        return _unique(pairs)

    try:
        return json.loads(text, object_pairs_hook=check)
    except (json.JSONDecodeError, PromptError):
        raise
    except ValueError:  # int() refuses more than 4300 digits
        raise PromptError("holds a number too long to read; use fewer digits") from None
    except RecursionError:
        raise PromptError("is nested too deeply; flatten it") from None


def describe(value: object) -> str:
    """Name a value briefly for an error message, whatever its size or nesting."""
    if isinstance(value, float):
        if value != value:
            return "NaN"
        return f"{value:g}" if abs(value) != float("inf") else ("-" * (value < 0) + "Infinity")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value) if abs(value) < 10**12 else "a huge whole number"
    if isinstance(value, str):
        return json.dumps(value if len(value) <= 40 else value[:37] + "...", ensure_ascii=False)
    if isinstance(value, dict):
        return f"an object of {len(value)}" if value else "an empty object"
    if isinstance(value, (list, tuple)):
        if value and len(value) <= 4 and all(isinstance(item, (int, float)) for item in value):
            return "[" + ", ".join(describe(item) for item in value) + "]"
        return f"a list of {len(value)}" if value else "an empty list"
    return f"a {type(value).__name__}"


@contextmanager
def _readable() -> Iterator[None]:
    """Turn what the system says of a file into one clear line."""
    try:
        yield
    except FileNotFoundError:
        raise PromptError("no such file; check the path") from None
    except IsADirectoryError:
        raise PromptError("is a folder; name a file in it") from None
    except OSError as error:
        raise PromptError(f"cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # of the path: a null byte in it
        if isinstance(error, (PromptError, UnicodeDecodeError)):
            raise
        raise PromptError(f"cannot be read: {error}") from None


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match.group()[0]
        if token in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise PromptError(
                    f"is nested more than {MAX_DEPTH} deep (character {match.start()}); flatten it"
                )
        elif token in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise PromptError(
                    f"is ambiguous: the key {describe(key)} appears twice in one object, so one "
                    "would be lost; keep one, or give it a list of values"
                )
            seen.add(key)
    return result
