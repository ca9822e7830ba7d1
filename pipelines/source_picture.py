"""Pictures that a document refers to, by path or data URI."""

import base64
import binascii
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gligen.config import AdapterConfig
from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt
from grounding.region import Reference

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "BLEND_KEY",
    "FOLLOWS_EDGES",
    "SOURCE_KEY",
    "blend_of",
    "place_beside",
    "read_picture",
    "source_picture",
    "starting_picture",
]

# In a result's provenance: the picture that it was made from, and the pixels over which old and new
# were mixed.
SOURCE_KEY, BLEND_KEY = "source", "blend"
FOLLOWS_EDGES = "canny"  # the modality whose map can be made of a picture
DATA_URI = "data:"


def read_picture(name: str) -> "Image.Image":
    """Open a picture by path or data URI, RGB, turned as its EXIF says.

    Raises:
        PromptError: it is missing, no picture, or lies on another machine.
    """
    from pipelines.inquiry import open_picture  # comes with torch

    if name.startswith(DATA_URI):
        try:
            data = base64.b64decode(name.partition(",")[2], validate=True)
            return open_picture(io.BytesIO(data))  # pyright: ignore[reportArgumentType]
        except (binascii.Error, PromptError):
            raise PromptError(f"{name[:24]}...: is not a whole picture in base64") from None
    if "://" in name:
        raise PromptError(f"{name}: pictures are not downloaded; fetch it and name the file")
    return open_picture(name)


def source_picture(document: GroundedPrompt) -> str | None:
    """The picture that a drawing starts from: the document's, or, of a result, the one before it.

    A result names itself as its image; drawn again, it starts from what it was made from.
    """
    made = document.provenance
    source = None if made is None else made.settings.get(SOURCE_KEY)
    if isinstance(source, str) and document.image in (None, document.files.get("image")):
        return source
    return document.image


def starting_picture(config: AdapterConfig, document: GroundedPrompt) -> str | None:
    """The picture that an adapter starts from, if it is one that does.

    Raises:
        PromptError: it must, and the document names none.
    """
    source = source_picture(document)
    if config.inpainting:
        if source is None:
            raise PromptError(
                "this adapter redraws the boxes of a picture, and the document names none: give "
                "its image"
            )
        return source
    follows = config.modality == FOLLOWS_EDGES and document.maps.canny is None
    return source if follows else None


def blend_of(document: GroundedPrompt) -> int:
    """How many pixels the edges of a result were blended over; 0 of any other document."""
    blend = None if document.provenance is None else document.provenance.settings.get(BLEND_KEY)
    return blend if isinstance(blend, int) and blend > 0 else 0


def place_beside(document: GroundedPrompt, folder: Path) -> GroundedPrompt:
    """The document with the relative paths in it read from the folder that it lies in."""

    def placed(name: str | None) -> str | None:
        if name is None or name.startswith(DATA_URI) or "://" in name:
            return name
        return str(folder / name)

    regions = [
        region
        if region.reference is None
        else region.replace(reference=_moved(region.reference, placed))
        for region in document.regions
    ]
    given = {name: placed(value) for name, value in document.maps if value is not None}
    maps = document.maps.replace(**given)
    files = {
        kind: str(folder / name) if kind == "image" else name
        for kind, name in document.files.items()
    }
    image = placed(document.image)
    return document.replace(regions=regions, maps=maps, image=image, files=files)


def _moved(reference: Reference, placed: Callable[[str | None], str | None]) -> Reference:
    return reference.replace(image=placed(reference.image))
