"""Pictures that know how they were made: the prompt document and the settings as PNG metadata."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt

__all__ = ["Recipe", "decode_recipe", "encode_png", "read_recipe"]

_KEYWORD = "lavallama"
_FORMAT = "lavallama/recipe/v1"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that makes one picture.

    Attributes:
        document: the prompt with every sampling setting resolved; `sampling.seed` is this
            picture's own.
        settings: how it was run: model, adapter, width, height, dtype, device, attention,
            versions. JSON values only.
    """

    document: GroundedPrompt
    settings: dict[str, Any]


def encode_png(image: Image.Image, recipe: Recipe) -> bytes:
    """Encode a picture as PNG with its recipe in an `iTXt` chunk named `lavallama`."""
    payload = {
        "format": _FORMAT,
        "document": json.loads(recipe.document.canonical_json()),
        "settings": recipe.settings,
    }
    text = PngImagePlugin.PngInfo()
    text.add_itxt(_KEYWORD, json.dumps(payload, ensure_ascii=False, sort_keys=True))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text, optimize=True)
    return buffer.getvalue()


def read_recipe(path: str | Path) -> Recipe:
    """Read the recipe out of a PNG that `encode_png` made.

    Raises:
        PromptError: not a PNG, a damaged one, or one without a recipe of ours.
        OSError: the file cannot be opened.
    """
    path = Path(path)
    data = path.read_bytes()
    cure = "give a picture written by lavallama generate"
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
            text = getattr(image, "text", {}).get(_KEYWORD)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PromptError(f"{path} is not a readable PNG ({error}); {cure}") from error
    if text is None:
        raise PromptError(f"{path} carries no lavallama metadata (was it re-saved?); {cure}")
    return decode_recipe(text, path)


def decode_recipe(text: str, path: Path) -> Recipe:
    """Validate the metadata's text; `path` is only named in errors."""
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PromptError(f"{path}: its lavallama metadata is not JSON: {error}") from error
    if not isinstance(payload, dict) or payload.get("format") != _FORMAT:
        raise PromptError(f"{path}: its lavallama metadata is not of the form {_FORMAT}")
    settings = payload.get("settings")
    if not isinstance(settings, dict):
        raise PromptError(f"{path}: its lavallama metadata has no settings")
    try:
        document = GroundedPrompt.model_validate(payload.get("document"))
    except ValueError as error:
        raise PromptError(f"{path}: the prompt document in its metadata: {error}") from error
    return Recipe(document=document, settings=settings)
