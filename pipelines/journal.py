"""A journal of what is done: a line of JSON for each piece of work, which a kill cannot spoil.

A line is written at once, by one process alone. What a kill cut off at the end is taken back when
the journal is opened again, so that a piece of work is in it whole, or is done anew.
"""

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grounding.errors import OutputError
from grounding.lock import lock_file

__all__ = ["Entry", "Journal", "read_entries"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where a line of a journal lies.

    Attributes:
        digest: Of what the work was done on.
        path: The journal.
        start: First byte of the line.
        length: Bytes of it.
    """

    digest: str
    path: Path
    start: int
    length: int

    def read(self) -> dict[str, Any]:
        """Return what was written."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            return json.loads(file.read(self.length))["value"]


class Journal:
    """The journal of this process; the last line of a key counts.

    Attributes:
        path: The file.
        entries: By their keys.
    """

    def __init__(self, path: Path) -> None:
        """Open a journal, or begin one.

        Raises:
            OutputError: it cannot be written, or another process is writing it.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {str(error.strerror).lower()}") from None
        lock_file(self._file, path)
        self.entries: dict[str, Entry] = {}
        end = 0
        for key, entry in _lines(path):
            end = entry.start + entry.length
            if key is not None:
                self.entries[key] = entry
        if end < path.stat().st_size:
            os.truncate(path, end)
        self._end = end

    def append(self, key: str, digest: str, value: Mapping[str, Any]) -> None:
        """Write a line.

        Args:
            key: Of the piece of work.
            digest: Of what it was done on.
            value: The result, as JSON has it.

        Raises:
            OutputError: the disk is full.
        """
        line = {"key": key, "digest": digest, "value": value}
        data = json.dumps(line, ensure_ascii=False, sort_keys=True).encode() + b"\n"
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {str(error.strerror).lower()}") from None
        self.entries[key] = Entry(digest=digest, path=self.path, start=self._end, length=len(data))
        self._end += len(data)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()  # which lets the lock go


def read_entries(paths: Iterable[Path]) -> dict[str, list[Entry]]:
    """Read journals, which may still be written; the entries of each key.

    Args:
        paths: Files; one after the other.
    """
    found: dict[str, list[Entry]] = {}
    for path in paths:
        of_path = {key: entry for key, entry in _lines(path) if key is not None}
        for key, entry in of_path.items():
            found.setdefault(key, []).append(entry)
    return found


def _lines(path: Path) -> Iterator[tuple[str | None, Entry]]:
    """Keys and places of whole lines; no key where a line makes no sense."""
    start = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                content = json.loads(line)
                key, digest = content["key"], content["digest"]
            except (ValueError, LookupError, TypeError, RecursionError):
                key, digest = None, ""
            yield key, Entry(digest=digest, path=path, start=start, length=len(line))
            start += len(line)
