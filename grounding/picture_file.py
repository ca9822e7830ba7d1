"""Picture files: the one door through which they come in, and what people see in them.

| stored                       | read as                                                    |
|------------------------------|------------------------------------------------------------|
| turned by EXIF               | upright                                                    |
| transparency                 | laid on white                                              |
| 16 bits                      | the 8 bits that viewers show: 0..65535 is 0..255           |
| 32 bits (integers, floats)   | refused: nobody knows their range                          |
| CMYK, Lab, other profiles    | sRGB (ICC.1, by LittleCMS); a broken profile is left aside |
| an animation, several pages  | the first, with a warning                                  |

A file is read whole before it is decoded, so that a picture depends on no open file, and is
refused if decoding it would take for ever: too many pixels, or a JPEG of too many scans.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from grounding.errors import PromptError

__all__ = [
    "PICTURE_SUFFIXES",
    "as_seen",
    "changes_as_seen",
    "check_jpeg_scans",
    "is_sixteen_bits",
    "is_turned",
    "open_picture",
    "open_upright",
    "read_picture_size",
]

PICTURE_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jfif",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".avif",
    ".jp2",
    ".ppm",
    ".pgm",
    ".heic",
    ".heif",
)
# What Pillow may take a file for. Not all that it knows: EPS, for one, runs another program.
FORMATS = (
    "PNG",
    "JPEG",
    "MPO",
    "WEBP",
    "BMP",
    "GIF",
    "TIFF",
    "AVIF",
    "JPEG2000",
    "PPM",
    "ICO",
    "HEIF",
)
MOST_BYTES = 2**30
MOST_SCANS = 500  # of a JPEG; encoders write 1 to 20 (libjpeg-turbo, report LJT-01-003)
ORIENTATION = 0x0112  # EXIF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
EXIF_KEYS = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # in Pillow's info
ON_ITS_SIDE = 5  # this orientation and those above it swap width and height
OPAQUE = 255
CURE = "give a PNG, JPEG or WebP"
# A marker in the pixels of a JPEG: not a stuffed byte (00), a restart (D0-D7) or a fill byte (FF).
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_SCAN, _END = 0xDA, 0xD9  # ITU-T T.81, B.1.1.3
_WITHOUT_LENGTH = frozenset({0x01, 0xD8, _END})
_PROFILED_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # ICC.1, table 19
_SRGB_SLACK = 2  # of 255; a profile that moves no colour by more is sRGB by another name

File = str | Path | BinaryIO
log = logging.getLogger(__name__)


def open_picture(file: File) -> Image.Image:
    """Open a picture as people see it: RGB, upright, 8 bits, sRGB, transparency on white.

    Args:
        file: A path, or a file that is open for reading bytes.

    Raises:
        PromptError: It is missing, no picture, damaged, enormous, or of 32 bits a channel.
    """
    return as_seen(open_upright(file), _name(file))


def open_upright(file: File, *, most_pixels: int | None = None) -> Image.Image:
    """Open a picture with the numbers that it is stored in: maps, masks, what has transparency.

    Args:
        file: As for `open_picture`.
        most_pixels: That it may have; None: as many as Pillow takes.

    Returns:
        Decoded, turned as its EXIF says, in a mode of its own, with its `info`.

    Raises:
        PromptError: As for `open_picture`, but for the bits.
    """
    with _opened(file) as image:
        if image.format not in ("MPO", "ICO") and getattr(image, "is_animated", False):
            _warn(f"{_name(file)}: holds several pictures; the first is taken")
        if most_pixels is not None and image.width * image.height > most_pixels:
            raise PromptError(f"has more than {most_pixels} pixels; make it smaller")
        image.load()
        upright = _turned(image)
        upright = image.copy() if upright is image else upright  # no longer of a file
        upright.format = image.format
        return upright


def read_picture_size(file: File) -> tuple[int, int]:
    """Read (width, height) of a picture as people see it, decoding no more than is needed.

    Raises:
        PromptError: As for `open_picture`, as far as the header tells.
    """
    with _opened(file) as image:
        if image.format == "TIFF":  # which Pillow turns by itself, when it is decoded
            image.load()
        width, height = image.size
        return (height, width) if _orientation(image) >= ON_ITS_SIDE else (width, height)


def is_turned(file: File) -> bool:
    """Whether people see a picture turned or mirrored against how its pixels are stored.

    Raises:
        PromptError: As for `open_picture`, as far as the header tells.
    """
    with _opened(file) as image:
        return _orientation(image) != 1


def as_seen(image: Image.Image, name: str = "the picture") -> Image.Image:
    """What people see in a picture that is open: RGB, turned, 8 bits, sRGB, transparency on white.

    Args:
        image: In any mode.
        name: For messages.

    Raises:
        PromptError: It has 32 bits a channel.
    """
    image = _turned(image)
    if is_sixteen_bits(image):
        image = _scaled_to_8_bits(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise PromptError(
            f"{name}: has 32 bits a pixel (mode {image.mode}), which say no range; scale it to 8 "
            "or 16 bits first"
        )
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        colours = _in_srgb(layer.convert("RGB"), image.info.get("icc_profile"), name)
        seen = Image.new("RGB", layer.size, "white")
        seen.paste(colours, mask=layer.getchannel("A"))
        return seen
    return _in_srgb(image, image.info.get("icc_profile"), name)


def changes_as_seen(file: File) -> tuple[str, ...]:
    """What `open_picture` changes of a picture's numbers, in words for those who get them back.

    Raises:
        PromptError: As for `open_upright`.
    """
    image = open_upright(file)
    changes = []
    if is_sixteen_bits(image):
        changes.append("16 bits are scaled to 8")
    if (
        image.has_transparency_data
        and np.asarray(image.convert("RGBA").getchannel("A")).min() < OPAQUE
    ):
        changes.append("transparency is laid on white")
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and profile and not _is_srgb(profile):
        changes.append("colours are converted from the profile of the file to sRGB")
    elif image.mode in ("CMYK", "LAB"):
        changes.append(f"{image.mode} is converted to sRGB")
    return tuple(changes)


def is_sixteen_bits(image: Image.Image) -> bool:
    """Whether a grey picture has 16 bits; PNG and PGM have no more, whatever Pillow calls it."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def check_jpeg_scans(data: bytes) -> None:
    """Refuse a JPEG that would take for ever: each scan of a progressive one decodes all of it.

    Args:
        data: A file of any kind.

    Raises:
        PromptError: It has more than `MOST_SCANS` scans.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return
    scans, place = 0, 2
    while (found := _MARKER.search(data, place)) is not None:
        marker, place = found.group(1)[0], found.end()
        if marker == _END:
            return
        scans += marker == _SCAN
        if scans > MOST_SCANS:
            raise PromptError(
                f"is a JPEG of more than {MOST_SCANS} scans, which would take for ever to decode; "
                "save it anew"
            )
        if marker not in _WITHOUT_LENGTH:
            place += int.from_bytes(data[place : place + 2], "big")


def _name(file: File) -> str:
    if isinstance(file, (str, Path)):
        return str(file)
    name = getattr(file, "name", None)
    return name if isinstance(name, str) else "the picture"


@contextmanager
def _opened(file: File) -> Iterator[Image.Image]:
    """A picture whose header has been read; what its decoder says is put into one line."""
    name = _name(file)
    try:
        data = _read(file)
        if not data:
            raise PromptError(f"is empty (0 bytes); {CURE}")
        check_jpeg_scans(data)
        kinds = _known_formats(data)
        with Image.open(io.BytesIO(data), formats=kinds) as image:
            yield image
    except PromptError as error:
        raise PromptError(f"{name}: {error}") from None
    except FileNotFoundError:
        raise PromptError(f"{name}: no such file; check the path") from None
    except IsADirectoryError:
        raise PromptError(f"{name}: is a folder; name a picture in it") from None
    except Image.DecompressionBombError:
        raise PromptError(f"{name}: has too many pixels; make it smaller") from None
    except MemoryError:
        raise
    except Exception as error:  # what decoders raise on hostile bytes is anyone's guess
        if isinstance(error, OSError) and error.strerror:
            raise PromptError(f"{name}: cannot be read: {error.strerror.lower()}") from None
        raise PromptError(f"{name}: is not a whole picture; {CURE}") from None


def _read(file: File) -> bytes:
    data = _read_path(file) if isinstance(file, (str, Path)) else file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise PromptError(f"is larger than {MOST_BYTES / 2**30:g} GB; make it smaller")
    return data


def _read_path(path: str | Path) -> bytes:
    """The bytes of a file, or of a pipe: of one that nobody writes to, none would ever come.

    Raises:
        PromptError: Nobody writes to it.
    """
    at_once = getattr(os, "O_NONBLOCK", 0)
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | at_once), "rb") as opened:
        first = b""
        if at_once and stat.S_ISFIFO(os.fstat(opened.fileno()).st_mode):
            with contextlib.suppress(BlockingIOError):  # nothing yet, but it will
                first = os.read(opened.fileno(), MOST_BYTES + 1)
                if not first:
                    raise PromptError(f"is a pipe that nobody writes to; {CURE}")
            os.set_blocking(opened.fileno(), True)
        return first + opened.read(MOST_BYTES + 1 - len(first))


def _known_formats(data: bytes) -> list[str]:
    """The formats of `FORMATS` that this Pillow reads; of HEIC, with the help of pillow-heif.

    Raises:
        PromptError: The file is of a kind for which something must be installed.
    """
    Image.init()
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        if brand in (b"mif1", b"msf1") and b"avif" in data[12:64] and "AVIF" in Image.OPEN:
            return ["AVIF"]
        if "HEIF" not in Image.OPEN:
            _register_heif()
    if brand in (b"avif", b"avis") and "AVIF" not in Image.OPEN:
        raise PromptError("is AVIF, which this Pillow cannot read; pip install 'pillow>=11.3'")
    return [kind for kind in FORMATS if kind in Image.OPEN]


def _register_heif() -> None:
    try:
        from pillow_heif import (  # pyright: ignore[reportMissingImports]
            register_heif_opener,
        )
    except ImportError:
        raise PromptError(
            "is HEIC, as phones write it; pip install pillow-heif, or save it as JPEG"
        ) from None
    register_heif_opener()


def _turned(image: Image.Image) -> Image.Image:
    """The picture as its EXIF says it is turned: itself, or a copy that says no more how."""
    turn = TURNS.get(_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    for key in EXIF_KEYS:
        turned.info.pop(key, None)
    return turned


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 of what has none, or one that cannot be read."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF is written by anyone
        return 1
    return value if value in TURNS else 1


def _scaled_to_8_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image, np.int64)
    grey = Image.fromarray(((values.clip(0, 65535) * 255 + 32767) // 65535).astype(np.uint8))
    hole = image.info.get("transparency")
    if isinstance(hole, int):  # the one grey that is not there
        grey.paste(255, mask=Image.fromarray(values == hole))
    if "icc_profile" in image.info:
        grey.info["icc_profile"] = image.info["icc_profile"]
    return grey


def _in_srgb(image: Image.Image, profile: object, name: str) -> Image.Image:
    """An opaque picture as RGB in sRGB."""
    if image.mode == "LAB":  # says itself what its colours are, and Pillow converts it no other way
        return _lab_in_srgb(image)
    if isinstance(profile, bytes) and profile:
        try:
            return _converted(image, profile)
        except Exception as error:  # profiles are written by anyone, too
            reason = " ".join(str(error).split())[:80]
            _warn(f"{name}: its colour profile is left aside; it cannot be used: {reason}")
    return image.convert("RGB")


def _converted(image: Image.Image, profile: bytes) -> Image.Image:
    from PIL import ImageCms

    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space: str = given.profile.xcolor_space  # pyright: ignore[reportAttributeAccessIssue]
    mode = _PROFILED_MODES.get(space)
    if mode is None:
        raise ValueError(f"it is of {space.strip()!r}")
    if (mode == "CMYK") != (image.mode == "CMYK"):
        raise ValueError(f"it is of {mode}, the picture is {image.mode}")
    srgb = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(given, srgb, mode, "RGB")
    if mode != "CMYK" and _moves_nothing(transform, mode):
        return image.convert("RGB")
    converted = ImageCms.applyTransform(image.convert(mode), transform)
    assert converted is not None, "a new picture is asked for"
    return converted


def _lab_in_srgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = (ImageCms.createProfile(space) for space in ("LAB", "sRGB"))
    converted = ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
    assert converted is not None, "a new picture is asked for"
    return converted


def _is_srgb(profile: bytes) -> bool:
    """Whether a profile changes nothing, since it is sRGB or cannot be used."""
    colours = Image.fromarray(_grid())
    try:
        return np.array_equal(np.asarray(_converted(colours, profile)), np.asarray(colours))
    except Exception:  # profiles are written by anyone
        return True


def _grid() -> np.ndarray:
    """Colours from everywhere, uint8 [H, W, 3]."""
    steps = np.linspace(0, 255, 6).astype(np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps), -1).reshape(6, 36, 3)


def _moves_nothing(transform: object, mode: str) -> bool:
    """Whether a transform to sRGB leaves a grid of colours where they are."""
    from PIL import ImageCms

    before = Image.fromarray(_grid()).convert(mode)
    after = ImageCms.applyTransform(before, transform)  # pyright: ignore[reportArgumentType]
    moved = np.asarray(before.convert("RGB"), int) - np.asarray(after, int)
    return int(abs(moved).max()) <= _SRGB_SLACK


@functools.lru_cache(4096)
def _warn(message: str) -> None:
    """Say something of a picture once, however often it is opened."""
    log.warning("%s", message)
