"""Result files that are there whole or not at all."""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from grounding.errors import OutputError

__all__ = ["check_writable", "write_files"]


def check_writable(paths: Iterable[Path]) -> None:
    """Find out before any work is done whether results can be written.

    Nothing is left behind: a folder that is missing is made only when there is something to put
    into it.

    Raises:
        OutputError: naming the first path that cannot be written, and why.
    """
    for path in paths:
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder; name a file in it")
        folder = path.parent
        try:
            while not folder.exists():
                folder = folder.parent
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise _unwritable(path, error) from error


def write_files(contents: Mapping[Path, bytes | Callable[[Path], object]]) -> None:
    """Write all files, or none: each to a temporary neighbour, then all renamed into place.

    Args:
        contents: what goes where: bytes, or a function that writes the file of the path it is
            given. Folders are made as needed, existing files are replaced.

    Raises:
        OutputError: one of them could not be written (a full disk, say); temporaries are removed.
    """
    parts: dict[Path, Path] = {}
    path = Path()
    try:
        for path, data in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            parts[path] = part
            part.write_bytes(data) if isinstance(data, bytes) else data(part)
        for path, part in parts.items():
            os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch.save tells of a full disk as RuntimeError
        raise _unwritable(path, error) from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _unwritable(path: Path, error: Exception) -> OutputError:
    reason = (getattr(error, "strerror", None) or str(error)).lower()
    return OutputError(f"cannot write {path}: {reason}; choose another place")
