"""Pictures that a document refers to, by path or data URI."""

import base64
import binascii
import io
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gligen.config import BOX_MODALITIES, AdapterConfig
from grounding.document_paths import DATA_URI
from grounding.errors import PromptError
from grounding.picture_file import changes_as_seen, open_picture
from grounding.prompt import GroundedPrompt

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "BLEND_KEY",
    "DRAWN_KEY",
    "FOLLOWS_EDGES",
    "INPAINTED_KEY",
    "SOURCE_KEY",
    "Start",
    "blend_of",
    "drawn_size",
    "read_picture",
    "source_picture",
    "starting_picture",
    "tell_changes",
]

log = logging.getLogger(__name__)

# In a result's provenance: the picture that it was made from; 1 if it was redrawn inside boxes and
# kept outside; the pixels over which old and new were mixed; and WIDTHxHEIGHT that the model drew,
# if the result has another size.
SOURCE_KEY, INPAINTED_KEY, BLEND_KEY, DRAWN_KEY = "source", "inpainted", "blend", "drawn"
FOLLOWS_EDGES = "canny"  # the modality whose map can be made of a picture


def read_picture(name: str) -> "Image.Image":
    """Open a picture by path or data URI, RGB, turned as its EXIF says.

    Raises:
        PromptError: it is missing, no picture, or lies on another machine.
    """
    if name.startswith(DATA_URI):
        try:
            data = base64.b64decode(name.partition(",")[2], validate=True)
            return open_picture(io.BytesIO(data))
        except (binascii.Error, PromptError):
            raise PromptError(f"{name[:24]}...: is not a whole picture in base64") from None
    if "://" in name:
        raise PromptError(f"{name}: pictures are not downloaded; fetch it and name the file")
    return open_picture(name)


def tell_changes(name: str) -> None:
    """Warn of what is changed all over a picture that is redrawn in parts and given back.

    Raises:
        PromptError: it cannot be read.
    """
    if name.startswith(DATA_URI) or "://" in name:
        return
    if changes := changes_as_seen(name):
        log.warning("%s: %s, in all of the picture", name, "; ".join(changes))


def source_picture(document: GroundedPrompt) -> str | None:
    """The picture that a drawing starts from: the document's, or, of a result, the one before it.

    A result names itself as its image; drawn again, it starts from what it was made from.
    """
    made = document.provenance
    source = None if made is None else made.settings.get(SOURCE_KEY)
    if isinstance(source, str) and document.image in (None, document.files.get("image")):
        return source
    return document.image


@dataclass(frozen=True, kw_only=True)
class Start:
    """The picture that a drawing starts from.

    Attributes:
        name: path or data URI.
        inpaints: it is redrawn inside the boxes; else its edges are followed.
    """

    name: str
    inpaints: bool


def starting_picture(
    config: AdapterConfig | None, document: GroundedPrompt, *, asked: bool, base_inpaints: bool
) -> Start | None:
    """The picture that a model starts from, if it does.

    A model for inpainting redraws the document's picture. Any other adapter for boxes does so only
    if it is asked to, or if the document is the result of such a drawing: the image of a document
    is, by itself, only the picture that its regions lie on.

    Args:
        config: the adapter's, if there is one.
        document: names the picture.
        asked: the caller, not the document alone, wants to start from it.
        base_inpaints: the UNet itself is one for inpainting.

    Raises:
        PromptError: the model must start from a picture and the document names none, or the model
            cannot.
    """
    source = source_picture(document)
    if base_inpaints or (config is not None and config.inpainting):
        if source is None:
            kind = "model" if base_inpaints else "adapter"
            raise PromptError(
                f"this {kind} redraws the boxes of a picture, and the document names none: give "
                "its image"
            )
        return Start(name=source, inpaints=True)
    if source is None or config is None:
        can = False
    elif config.modality == FOLLOWS_EDGES and document.maps.canny is None:
        return Start(name=source, inpaints=False)
    else:
        can = config.modality in BOX_MODALITIES
    if asked and not can:
        raise PromptError(
            "this model starts from no picture; name an adapter for boxes, which redraws them, or "
            "one that follows edges (canny)"
        )
    made = document.provenance
    again = made is not None and bool(made.settings.get(INPAINTED_KEY))
    if source is not None and can and (asked or (again and source != document.image)):
        return Start(name=source, inpaints=True)
    return None


def blend_of(document: GroundedPrompt) -> int:
    """How many pixels the edges of a result were blended over; 0 of any other document."""
    blend = None if document.provenance is None else document.provenance.settings.get(BLEND_KEY)
    return blend if isinstance(blend, int) and blend > 0 else 0


def drawn_size(document: GroundedPrompt) -> tuple[int, int] | None:
    """The (width, height) that a model drew for a result that was redrawn inside boxes.

    Returns:
        None of any other document, and of one that now names another picture.

    Raises:
        PromptError: its provenance says no size.
    """
    made = document.provenance
    if made is None or document.canvas is None or not made.settings.get(INPAINTED_KEY):
        return None
    if source_picture(document) == document.image:
        return None
    said = made.settings.get(DRAWN_KEY)
    if said is None:
        return document.canvas.size
    sides = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", str(said))
    if sides is None:
        raise PromptError(
            f"the provenance says that {said!r} was drawn, expected WIDTHxHEIGHT in pixels; name "
            "the picture to redraw anew (--image)"
        )
    return int(sides[1]), int(sides[2])
