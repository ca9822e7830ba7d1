"""A journal of what is done: a line of JSON for each piece of work, which a kill cannot spoil.

A line is written at once, by one process alone. What a kill cut off at the end is taken back when
the journal is opened again, so that a piece of work is in it whole, or is done anew.
"""

import importlib
import importlib.util
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from grounding.errors import LavallamaError, OutputError, PromptError
from grounding.files import write_files
from grounding.jsonfile import parse_json, read_text

__all__ = ["Entry", "Journal", "kept_settings", "read_entries"]


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
            self._file = path.open("ab")
        except OSError as error:
            raise OutputError(f"cannot write {path}: {str(error.strerror).lower()}") from None
        _lock(self._file, path)
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
            self._file.write(data)
            self._file.flush()
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


@contextmanager
def kept_settings(path: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Write down how work is done, or check that it is done as before; then do it.

    What was written down now is taken back if an error stops the work before any of it is in a
    journal, `*.jsonl` beside the file or in a folder there: who named a model wrongly may name
    another.

    Args:
        path: Of a JSON file.
        settings: All that results depend on.

    Raises:
        OutputError: the work was begun with other settings, or the file cannot be written.
    """
    ours = json.loads(json.dumps(settings))
    fresh = not path.exists()
    if fresh:
        text = json.dumps(ours, indent=2, ensure_ascii=False) + "\n"
        write_files({path: text.encode()})
    else:
        _compare(path, ours)
    try:
        yield
    except LavallamaError:
        journals = (*path.parent.glob("*.jsonl"), *path.parent.glob("*/*.jsonl"))
        if fresh and not any(journal.stat().st_size for journal in journals):
            path.unlink(missing_ok=True)
        raise


def _compare(path: Path, ours: dict[str, Any]) -> None:
    """Check that work was begun with the same settings."""
    try:
        theirs = parse_json(read_text(path))
    except PromptError as error:
        raise OutputError(f"{path}: {error}; choose another --out") from None
    if theirs != ours:
        known = theirs if isinstance(theirs, dict) else {}
        name = next((name for name in ours if known.get(name) != ours[name]), "settings")
        raise OutputError(
            f"{path.parent} was begun with another {name.replace('_', ' ')} ({path.name} has it); "
            "choose another --out, or delete it"
        )


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


def _lock(file: IO[bytes], path: Path) -> None:
    """Keep other processes from writing the file, as long as it is open; not on Windows."""
    if importlib.util.find_spec("fcntl") is None:
        return
    fcntl: Any = importlib.import_module("fcntl")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise OutputError(
            f"{path}: another process is writing it; wait for it, or end it"
        ) from None
    except OSError:
        return  # a file system without locks
