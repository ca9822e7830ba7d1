"""Pictures that know how they were made: the result document as PNG metadata."""

import io
from pathlib import Path

from PIL import Image, PngImagePlugin

from grounding.errors import PromptError
from grounding.jsonfile import parse_json
from grounding.picture_file import open_upright
from grounding.prompt import GroundedPrompt

__all__ = ["encode_png", "read_png"]

KEYWORD = "lavallama"  # the name of the iTXt chunk


def encode_png(image: Image.Image, document: GroundedPrompt) -> bytes:
    """Encode a picture as PNG, with its document's canonical JSON in an `iTXt` chunk."""
    text = PngImagePlugin.PngInfo()
    text.add_itxt(KEYWORD, document.canonical_json())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text, optimize=True)
    return buffer.getvalue()


def read_png(path: str | Path) -> GroundedPrompt:
    """Read back the document of a PNG that `encode_png` made.

    Raises:
        PromptError: not a PNG, a damaged one, or one without a document of ours.
        OSError: the file cannot be opened.
    """
    data = Path(path).read_bytes()
    cure = "give a PNG written by lavallama generate"
    try:
        image = open_upright(io.BytesIO(data))
    except PromptError:
        raise PromptError(f"{path}: is not a whole PNG file; {cure}") from None
    text = image.info.get(KEYWORD) if image.format == "PNG" else None
    if text is None:
        raise PromptError(f"{path}: carries no lavallama metadata (was it re-saved?); {cure}")
    try:
        return GroundedPrompt.model_validate(parse_json(text))
    except PromptError as error:
        raise PromptError(f"{path}: the document in its metadata: {error}") from None
