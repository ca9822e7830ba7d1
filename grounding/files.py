"""Result files that are there whole or not at all."""

import contextlib
import errno
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from grounding.errors import OutputError

__all__ = ["check_writable", "remove_parts", "write_files"]

PART = re.compile(r"\.[0-9a-f]{16}\.part")
STALE = 24 * 3600.0  # seconds; a large data set takes hours from its first file to its last


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


def write_files(
    contents: Mapping[Path, bytes | Callable[[Path], object]],
    *,
    last: Path | None = None,
    synced: bool = True,
) -> None:
    """Write all files, or none: each to a temporary neighbour, then all renamed into place.

    Args:
        contents: what goes where: bytes, or a function that writes the file of the path it is
            given, which exists and is empty. Folders are made as needed, existing files are
            replaced, in this order.
        last: one of them that speaks of the others. It is taken away before they are renamed and
            comes when they are there: after a kill it is missing, never beside files of others.
        synced: whether files are on the disk before they are renamed, so that they are whole after
            a loss of power too. It takes milliseconds a file; what can be made again and is
            checked when it is read may do without.

    Raises:
        OutputError: one of them could not be written (a full disk, say); temporaries are removed.
    """
    parts: dict[Path, Path] = {}
    path = Path()
    try:
        for path, data in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = parts[path] = _new_part(path.parent)
            rights = stat.S_IMODE(part.stat().st_mode)
            part.write_bytes(data) if isinstance(data, bytes) else data(part)
            part.chmod(rights)  # safetensors puts a file in its place that only its owner reads
            if synced:
                _sync(part)
        folders = dict.fromkeys(path.parent for path in parts)
        if last is not None and len(parts) > 1:
            last.unlink(missing_ok=True)
            parts[last] = parts.pop(last)
        for path, part in parts.items():
            os.replace(part, path)
        for folder in folders if synced else ():
            _sync(folder)
            remove_parts(folder, STALE)
    except (OSError, RuntimeError) as error:  # torch.save tells of a full disk as RuntimeError
        raise _unwritable(path, error) from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def remove_parts(folder: Path, seconds: float = 0) -> None:
    """Remove temporaries that a killed process left in a folder.

    Args:
        folder: Where; folders in it are left alone.
        seconds: Since they were last written; 0: all, for who holds the folder alone.
    """
    before = time.time() - seconds
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if PART.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime <= before:
                        os.unlink(entry.path)


def _new_part(folder: Path) -> Path:
    """An empty file of a name that nobody can guess, with the rights of a new file."""
    part = folder / f".{secrets.token_hex(8)}.part"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(part, flags, 0o666))
    return part


def _sync(path: Path) -> None:
    """See to it that a file, or the names in a folder, are on the disk."""
    try:
        number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot
            raise
    finally:
        os.close(number)


def _unwritable(path: Path, error: Exception) -> OutputError:
    reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
    if isinstance(error, RuntimeError):  # torch tells places in its own code
        reason = f"no room left for it, perhaps ({reason})"
    return OutputError(f"cannot write {path}: {reason.lower()}; choose another place")
