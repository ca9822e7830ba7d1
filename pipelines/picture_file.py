"""Picture files, as people see them."""

from pathlib import Path

from PIL import Image, ImageOps

from grounding.errors import PromptError

__all__ = ["open_picture"]


def open_picture(path: str | Path) -> Image.Image:
    """Open a picture as people see it: RGB, turned as its EXIF says, transparency on white.

    Raises:
        PromptError: It is missing, no picture, damaged or enormous.
    """
    try:
        with Image.open(path) as image:
            image.load()
            picture = ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise PromptError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise PromptError(f"{path}: is a folder; name a picture in it") from None
    except Image.DecompressionBombError:
        raise PromptError(f"{path}: has too many pixels; make it smaller") from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise PromptError(f"{path}: cannot be read: {error.strerror.lower()}") from None
        raise PromptError(f"{path}: is not a whole picture; give a PNG, JPEG or WebP") from None
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        raise PromptError(
            f"{path}: pictures have 8 bits a channel; got the mode {picture.mode}: scale it first"
        )
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.new("RGB", layer.size, "white")
        picture.paste(layer, mask=layer.getchannel("A"))
    return picture.convert("RGB")
