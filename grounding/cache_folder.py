"""Where lavallama keeps what it can make again."""

import os
from pathlib import Path

__all__ = ["CACHE_VARIABLE", "cache_folder"]

CACHE_VARIABLE = "LAVALLAMA_CACHE"
OFF = "off"


def cache_folder(kind: str) -> Path | None:
    """The folder for one kind of things, which need not be there yet.

    It lies where `LAVALLAMA_CACHE` says, else where caches belong
    (https://specifications.freedesktop.org/basedir-spec).

    Args:
        kind: Name of the folder.

    Returns:
        None: nothing is to be kept, `LAVALLAMA_CACHE` is "off".
    """
    said = os.environ.get(CACHE_VARIABLE, "")
    if said.lower() == OFF:
        return None
    if said:
        return Path(said).expanduser() / kind
    usual = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(usual) / "lavallama" / kind
