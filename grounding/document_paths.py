"""Where the files lie that a prompt document names: beside it, however it is moved about.

A document names its picture, references, maps and recordings relative to the folder that it lies
in. What reads one places them (`place_beside`), what writes one names them from there
(`name_from`).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grounding.errors import PromptError
from grounding.find_file import FileFinder
from grounding.prompt import GroundedPrompt

__all__ = ["DATA_URI", "name_from", "path_from", "place_beside"]

DATA_URI = "data:"
IMAGE = "image"  # the one of a document's files that is read again


def place_beside(document: GroundedPrompt, folder: str | Path) -> GroundedPrompt:
    """The document with what it names found from the folder that it lies in.

    Raises:
        PromptError: A name may mean several files, or no file can be called so.
    """
    finder = FileFinder([Path(folder)])

    def placed(name: str) -> str:
        if "\0" in name:
            raise PromptError(f"{name!r:.80} is no file's name: it has a null character")
        found = finder.search(name)
        if found is None and "://" not in name:
            found = Path(folder) / name
        return name if found is None else str(found)

    return _renamed(document, placed)


def name_from(document: GroundedPrompt, folder: str | Path) -> GroundedPrompt:
    """The document as it is written into a folder: what `place_beside` there finds again."""
    return _renamed(document, lambda path: path if "://" in path else path_from(folder, path))


def path_from(folder: str | Path, path: str | Path) -> str:
    """A file's path as a file in a folder names it: relative, with slashes."""
    place = Path(path)
    try:
        beside = os.path.relpath(os.path.realpath(place.parent), os.path.realpath(folder))
        return (Path(beside) / place.name).as_posix()
    except ValueError:  # on another drive
        return place.resolve().as_posix()


def _renamed(document: GroundedPrompt, rename: Callable[[str], str]) -> GroundedPrompt:
    """The document with other names for its files; what is in it itself keeps its name."""

    def renamed(part: Any, *fields: str) -> Any:
        names = {field: getattr(part, field, None) for field in fields}
        told = {
            field: rename(name)
            for field, name in names.items()
            if isinstance(name, str) and not name.startswith(DATA_URI)
        }
        return part.replace(**told) if told else part

    regions = [
        renamed(
            region
            if region.reference is None
            else region.replace(reference=renamed(region.reference, "image")),
            "audio",
        )
        for region in document.regions
    ]
    messages = [
        message.replace(content=tuple(renamed(part, "image", "audio") for part in message.content))
        for message in document.messages
    ]
    files = {
        kind: rename(name) if kind == IMAGE and not name.startswith(DATA_URI) else name
        for kind, name in document.files.items()
    }
    maps = renamed(document.maps, *(field for field, _ in document.maps))
    whole = renamed(document, "image")
    return whole.replace(regions=regions, messages=messages, maps=maps, files=files)
