"""What is in the cache of downloads: how much, whether it is whole, and how to be rid of it.

The cache is huggingface_hub's, shared with every program that uses it: `models--OWNER--NAME/` holds
`blobs/`, named by the hub's hashes (SHA-256 of large files, Git's SHA-1 of small ones), and
`snapshots/COMMIT/` of links to them.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from filelock import FileLock, Timeout
from huggingface_hub import constants

__all__ = ["repo_folder", "sweep_partials"]

# huggingface_hub >= 2 gives each attempt a name of its own, and never takes one up again;
# `HASH.incomplete` of older versions is taken up.
LEFT_BEHIND = re.compile(r"(?P<hash>[0-9a-f]+)\.[0-9a-f]{8}\.incomplete")


def repo_folder(repo: str) -> Path:
    """Say where the cache has, or would have, a repository.

    Args:
        repo: `owner/name`.
    """
    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def sweep_partials(repo: str) -> int:
    """Remove what killed downloads left behind, which nothing will take up.

    Args:
        repo: `owner/name`.

    Returns:
        How many bytes that were. A file that a process downloads at this moment stays.
    """
    folder, freed = repo_folder(repo), 0
    for partial in folder.glob("blobs/*.incomplete"):
        match = LEFT_BEHIND.fullmatch(partial.name)
        if match is None:
            continue
        lock = folder.parent / ".locks" / folder.name / f"{match['hash']}.lock"
        with contextlib.suppress(OSError, Timeout):
            with FileLock(lock, timeout=0):
                size = partial.stat().st_size
                partial.unlink()
            freed += size
    return freed
