"""Pictures that strangers sent: refused by their header, or decoded whole."""

import io

import numpy as np
from PIL import Image

from grounding.errors import PromptError
from grounding.masks import picture_to_bitmap
from grounding.picture_file import open_upright
from grounding.region import MAX_SIDE
from pipelines.serve.header import read_header
from pipelines.serve.refusal import Refusal

__all__ = ["check_picture", "decode_bitmap", "decode_picture"]

MOST_SCANNED = 64 * 4096 * 4096  # pixels of all scans: 10 ms for each of 4096 x 4096


def check_picture(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Refuse a picture by its header, before anything is decoded.

    Returns:
        (width, height) as the header says.

    Raises:
        Refusal: not a picture of the kinds that are taken (415), too large (413), damaged (422).
    """
    header = read_header(data)
    if header.width * header.height > max_pixels:
        raise Refusal(
            413,
            f"the picture has {header.width} x {header.height} pixels, more than the limit of "
            f"{max_pixels}; send a smaller one",
        )
    if max(header.width, header.height) > MAX_SIDE:
        raise Refusal(
            413,
            f"the picture is {header.width} x {header.height}; its longer side may have at most "
            f"{MAX_SIDE} pixels",
        )
    # Upper bound: the marker of a scan stands nowhere else in pixels (T.81, B.1.1.5).
    scanned = data.count(b"\xff\xda") * header.width * header.height
    if header.kind == "JPEG" and scanned > MOST_SCANNED:
        raise Refusal(
            413,
            "the JPEG is progressive, of so many scans that it would take for ever to decode; save "
            "it anew",
        )
    return header.width, header.height


def decode_picture(data: bytes, max_pixels: int) -> Image.Image:
    """Decode a picture, turned as its EXIF says; of an animation, its first frame.

    Raises:
        Refusal: as `check_picture`, or the bytes cannot be decoded (422).
    """
    size = check_picture(data, max_pixels)
    try:
        picture = open_upright(io.BytesIO(data), most_pixels=size[0] * size[1])
    except PromptError as error:
        raise Refusal(422, f"the picture cannot be decoded: {error}") from None
    if picture.size not in (size, size[::-1]):
        raise Refusal(422, "the picture is damaged: two sizes stand in it")
    return picture


def decode_bitmap(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decode a mask from a PNG: what is not black is inside.

    Args:
        data: The file.
        size: (height, width) that it must have.

    Returns:
        Bools, [height, width].

    Raises:
        Refusal: not a PNG of that size.
    """
    header = read_header(data)
    if header.kind != "PNG" or (header.height, header.width) != size:
        raise Refusal(
            422,
            f"a mask must be a PNG of the image's {size[1]} x {size[0]} pixels; got a "
            f"{header.kind} of {header.width} x {header.height}",
        )
    picture = decode_picture(data, size[0] * size[1])
    if (picture.height, picture.width) != size:
        raise Refusal(422, "a mask must be upright, as its picture is; take its EXIF off")
    return picture_to_bitmap(picture)
