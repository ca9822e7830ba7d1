"""What is in the cache of downloads: how much, whether it is whole, and how to be rid of it.

The cache is huggingface_hub's, shared with every program that uses it: `models--OWNER--NAME/` holds
`blobs/`, named by the hub's hashes (SHA-256 of large files, Git's SHA-1 of small ones), and
`snapshots/COMMIT/` of links to them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from huggingface_hub import constants, scan_cache_dir

__all__ = [
    "cached_repos",
    "cached_size",
    "describe_size",
    "find_broken",
    "name_cure",
    "remove_files",
    "remove_repo",
    "repo_folder",
    "sweep_partials",
]

# huggingface_hub >= 2 gives each attempt a name of its own, and never takes one up again;
# `HASH.incomplete` of older versions is taken up.
STALE_AFTER = 600  # seconds; a download that runs writes more often, its retries take a minute
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
        How many bytes that were. A file that a process downloads at this moment stays: it is
        locked, or, where the file system has no locks, was written to lately.
    """
    folder, freed = repo_folder(repo), 0
    for partial in folder.glob("blobs/*.incomplete"):
        match = LEFT_BEHIND.fullmatch(partial.name)
        if match is None:
            continue
        lock = folder.parent / ".locks" / folder.name / f"{match['hash']}.lock"
        with contextlib.suppress(OSError, Timeout), FileLock(lock, timeout=0):
            state = partial.stat()
            if state.st_mtime < time.time() - STALE_AFTER:
                partial.unlink()
                freed += state.st_size
    return freed


def name_cure(path: Path) -> str:
    """Say how a broken file of weights can be had whole: by a command, where it is in the cache."""
    for folder in path.absolute().parents:
        if folder.name.startswith("models--") and "snapshots" in path.parts:
            repo = folder.name.removeprefix("models--").replace("--", "/", 1)
            return f"`lavallama models check {repo} --repair` removes it, then run this again"
    return "download or copy it again"


def cached_repos() -> list[str]:
    """List the models of which the cache has anything, as `owner/name`."""
    folders = sorted(Path(constants.HF_HUB_CACHE).glob("models--*"))
    return [folder.name.removeprefix("models--").replace("--", "/", 1) for folder in folders]


def cached_size(repo: str, inside: str = "") -> int:
    """Count the bytes that the cache has of a repository, each file once.

    Args:
        repo: `owner/name`.
        inside: Only of this file or folder of it.
    """
    folder = repo_folder(repo)
    # Where links cannot be made, files are in snapshots themselves.
    parts = [f"snapshots/*/{inside}"] if inside else ["blobs", "snapshots"]
    places = [place for part in parts for place in folder.glob(part)]
    files = {path.resolve() for place in places for path in _files(place)}
    return sum(path.stat().st_size for path in files)


def find_broken(
    repo: str, inside: str = "", *, report: Callable[[int], object] = lambda _: None
) -> tuple[dict[str, str], int]:
    """Look for files that are not what the hub gave.

    A file's blob is named by its hash, which is computed anew; where it is not (no links on this
    file system), only the header of a safetensors file is compared with the file's length.

    Args:
        repo: `owner/name`.
        inside: Only this file or folder of it.
        report: Called with the number of bytes that were looked at.

    Returns:
        Path in the cache -> what is wrong; and how many files could be checked by their hash.
    """
    broken: dict[str, str] = {}
    hashed, seen = 0, set()
    for place in sorted(repo_folder(repo).glob(f"snapshots/*/{inside}")):
        for path in [*_files(place), *_dangling(place)]:
            blob = _blob_of(path)
            if blob in seen:
                continue
            seen.add(blob)
            if not path.is_file():
                broken[str(path)] = "what it links to is gone"
                continue
            wrong = _check_header(path) if path.suffix == ".safetensors" else None
            if wrong is None and (kind := HASHES.get(len(blob.name))) and _is_hex(blob.name):
                hashed += 1
                if kind(path, report) != blob.name:
                    wrong = "its hash is not the hub's"
            if wrong is not None:
                broken[str(path)] = wrong
    return broken, hashed


def remove_files(paths: list[str]) -> int:
    """Remove files of snapshots, and what they link to; returns the bytes that were freed."""
    freed = 0
    for path in map(Path, paths):
        blob = _blob_of(path)
        snapshots = next(folder for folder in path.parents if folder.name == "snapshots")
        for pointer in snapshots.rglob("*"):
            if pointer.is_symlink() and _blob_of(pointer) == blob:
                pointer.unlink()
        for real in {blob.resolve(), blob, path}:
            if real.is_file() or real.is_symlink():
                freed += 0 if real.is_symlink() else real.stat().st_size
                real.unlink()
    return freed


def remove_repo(repo: str) -> int:
    """Remove all that the cache has of a repository; returns the bytes that were freed."""
    freed = cached_size(repo)
    for known in scan_cache_dir(constants.HF_HUB_CACHE).repos:
        if known.repo_type == "model" and known.repo_id == repo:
            hashes = [revision.commit_hash for revision in known.revisions]
            scan_cache_dir(constants.HF_HUB_CACHE).delete_revisions(*hashes).execute()
    shutil.rmtree(repo_folder(repo), ignore_errors=True)
    shutil.rmtree(repo_folder(repo).parent / ".locks" / repo_folder(repo).name, ignore_errors=True)
    return freed


def describe_size(size: float) -> str:
    """Write a size for people, in powers of ten, as the hub does."""
    for unit, least in (("GB", 1e9), ("MB", 1e6)):
        if size >= least:
            return f"{size / least:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"


def _files(place: Path) -> list[Path]:
    paths = [place] if not place.is_dir() else sorted(place.rglob("*"))
    return [path for path in paths if path.is_file()]


def _dangling(place: Path) -> list[Path]:
    paths = [place] if not place.is_dir() else sorted(place.rglob("*"))
    return [path for path in paths if path.is_symlink() and not path.exists()]


def _blob_of(path: Path) -> Path:
    """What a snapshot's file links to: the blob that the hub's hash names."""
    return Path(os.path.normpath(path.parent / path.readlink())) if path.is_symlink() else path


def _is_hex(name: str) -> bool:
    return re.fullmatch(r"[0-9a-f]+", name) is not None


def _check_header(path: Path) -> str | None:
    """Compare a safetensors file's header with its length."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header: dict[str, Any] = json.loads(file.read(length) if length < size else "")
            ends = [entry["data_offsets"][1] for k, entry in header.items() if k != "__metadata__"]
        except (ValueError, AttributeError, TypeError, KeyError, IndexError):
            return "not a safetensors file: its header cannot be read"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"has {size} bytes, its header says {expected}"


def _hash(path: Path, digest: hashlib._Hash, report: Callable[[int], object]) -> str:
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
            report(len(part))
    return digest.hexdigest()


HASHES: dict[int, Callable[[Path, Callable[[int], object]], str]] = {
    64: lambda path, report: _hash(path, hashlib.sha256(), report),  # Git LFS
    40: lambda path, report: _hash(
        path, hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False), report
    ),  # Git
}
"""Length of a blob's name -> the hash that it is."""
