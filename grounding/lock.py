"""Locks: one process writes a folder, others are told; a lock ends with its process.

They are ``flock``'s: of one machine, or of file systems that pass them on; Windows has none.
"""

import contextlib
import importlib
import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from grounding.errors import OutputError

__all__ = ["LOCK", "lock_file", "locked"]

LOCK = ".lock"  # in the folder that is held

log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder, which is made if there is none.

    Args:
        folder: What nobody else is to write.
        wait: Whether to wait for another process that holds it; else it is an error.

    Raises:
        OutputError: another process holds it, or it cannot be written.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {str(error.strerror).lower()}") from None
    with file:
        lock_file(file, folder, wait=wait)
        yield


def lock_file(file: IO[bytes], path: Path, *, wait: bool = False) -> None:
    """Keep other processes from writing what a file stands for, as long as it is open.

    Args:
        file: Open; it is closed if it is another's.
        path: What is held, for the message.
        wait: Whether to wait for it.

    Raises:
        OutputError: another process holds it.
    """
    if importlib.util.find_spec("fcntl") is None:
        return
    fcntl: Any = importlib.import_module("fcntl")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            file.close()
            raise OutputError(
                f"{path}: another process is writing it; wait for it, or end it"
            ) from None
        log.info("waiting for another process that writes %s", path)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return  # a file system without locks
