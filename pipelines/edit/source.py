"""Sources: what can be edited, read from files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from grounding.document_paths import place_beside
from grounding.errors import PromptError
from grounding.formats import load
from grounding.jsonfile import MAX_BYTES
from grounding.prompt import GroundedPrompt
from pipelines.generation.png import read_png
from pipelines.generation.source_picture import read_picture, tell_changes

__all__ = ["read_source"]

OBJECTS = (b"{", b"[")


def read_source(path: Path) -> tuple[Image.Image, GroundedPrompt]:
    """Read a picture and what is known of it.

    Args:
        path: a picture, with a document in its metadata or none; or a document that names one.

    Raises:
        PromptError: it is neither, or the picture cannot be read.
    """
    if _is_json(path):
        document = place_beside(load(path), path.parent)
        name = document.image or document.files.get("image")
        if name is None:
            raise PromptError(f"{path}: names no picture; give the picture, or its image")
        tell_changes(name)
        return read_picture(name), document
    tell_changes(str(path))
    picture = read_picture(str(path))
    try:
        document = read_png(path)
    except PromptError:  # a picture from elsewhere: nothing is known of it
        document = GroundedPrompt()
    return picture, document.replace(image=str(path))


def _is_json(path: Path) -> bool:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            return False  # a pipe, which can be read once
        with path.open("rb") as file:
            return file.read(MAX_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in OBJECTS
    except (FileNotFoundError, IsADirectoryError):
        raise PromptError(f"{path}: no such file or folder of a history; check the path") from None
