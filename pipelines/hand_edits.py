"""What people changed in files of ours since we wrote them: it stays as they left it.

The digest of every line that we wrote, and of every whole file, is kept in a file beside. A line
with another digest is somebody's, and one that is gone was taken out by somebody.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from grounding.errors import OutputError, PromptError
from grounding.jsonfile import parse_json, read_json_lines, read_text
from pipelines.run_record import file_digest

__all__ = ["HandEdits", "LineEdits"]

Content = bytes | Callable[[Path], object]
Line = Mapping[str, Any]


class LineEdits:
    """What people did to a file of JSON lines.

    Attributes:
        changed: Lines that were changed or added, by their keys.
        removed: Keys of lines that were taken out.
    """

    def __init__(self, changed: dict[str, dict[str, Any]], removed: set[str]) -> None:
        self.changed, self.removed = changed, removed


class HandEdits:
    """The digests of what we wrote last, and of what we write now.

    Args:
        store: The file of digests; paths in it are seen from its folder.

    Raises:
        OutputError: It is damaged.
    """

    def __init__(self, store: Path) -> None:
        self.store = store
        self._lines: dict[str, dict[str, str]] = {}
        self._files: dict[str, str] = {}
        self._new: dict[str, dict[str, Any]] = {"lines": {}, "files": {}}
        if store.exists():
            try:
                content: Any = parse_json(read_text(store))
                self._lines, self._files = dict(content["lines"]), dict(content["files"])
            except (PromptError, LookupError, TypeError, ValueError) as error:
                raise OutputError(f"{store}: damaged ({error}); restore it") from None

    def lines(self, path: Path, key: str, ours: Callable[[str], Line | None]) -> LineEdits:
        """Find out what people did to a file of lines.

        Args:
            path: Of the file; nothing is there before it is written first.
            key: The field that tells lines apart.
            ours: The line that we would write for a key; None: we know none. It is asked where
                nobody noted what we wrote.

        Raises:
            OutputError: a line cannot be understood, so that it would be lost.
        """
        if not path.exists() or not path.stat().st_size:
            return LineEdits({}, set())
        written = self._lines.get(self._name(path))
        changed, seen = {}, set()
        for number, value in read_json_lines(path):
            if not isinstance(value, dict) or not isinstance(value.get(key), str):
                reason = value if isinstance(value, PromptError) else f"has no {key!r}"
                raise OutputError(
                    f"{path}: line {number} {reason}; mend or remove it, or it would be lost"
                )
            name = value[key]
            seen.add(name)
            if written is None and ours(name) is None:
                continue
            known = _digest(ours(name)) if written is None else written.get(name)
            if _digest(value) != known:
                changed[name] = value
        return LineEdits(changed, {name for name in written or () if name not in seen})

    def note_line(self, path: Path, key: str, line: Line) -> None:
        """Note a line of ours, whether it is written or somebody's stands in its place."""
        self._new["lines"].setdefault(self._name(path), {})[key] = _digest(line)

    def check(self, paths: Iterable[Path], cure: str) -> None:
        """Check that whole files of ours, which are to be written anew, are as we wrote them.

        Raises:
            OutputError: somebody changed one.
        """
        for path in paths:
            known = self._files.get(self._name(path))
            if known is not None and path.is_file() and file_digest(path) != known:
                raise OutputError(f"{path} was changed by hand since it was written; {cure}")

    def noted(self, path: Path, content: Content) -> Callable[[Path], object]:
        """The content of a whole file, for `write_files`; its digest is noted as it is written."""

        def write(part: Path) -> None:
            part.write_bytes(content) if isinstance(content, bytes) else content(part)
            self._new["files"][self._name(path)] = file_digest(part)

        return write

    def write(self, part: Path) -> None:
        """Write all digests, for `write_files`, after what they are of."""
        part.write_text(json.dumps(self._new, ensure_ascii=False) + "\n", "utf-8")

    def _name(self, path: Path) -> str:
        return os.path.relpath(path, self.store.parent).replace(os.sep, "/")


def _digest(line: Line | None) -> str:
    text = json.dumps(line, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
