"""The kind and size of a picture, read from its first bytes: nothing is decoded.

Pillow would allocate a canvas for some of them first. PNG: https://www.w3.org/TR/png-3/#11IHDR;
JPEG: ITU-T T.81, B.2.2; WebP: RFC 9649, sections 2.5 to 2.7.
"""

import struct
from typing import Literal, NamedTuple

from pipelines.serve.refusal import Refusal

__all__ = ["Header", "read_header"]

# Start of frame: C4, C8 and CC are tables and extensions.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # JPEG markers without a length
MOST_MARKERS = 4096  # before the size; a profile of 16 MiB has 255 segments (ICC.1, B.4)


class Header(NamedTuple):
    """What a picture says of itself.

    Attributes:
        kind: Pillow's name of the format.
        width: Pixels.
        height: Pixels.
    """

    kind: Literal["JPEG", "PNG", "WEBP"]
    width: int
    height: int


def read_header(data: bytes) -> Header:
    """Read the kind and the size of a picture.

    Raises:
        Refusal: 415: not a JPEG, PNG or WebP; 422: cut off before its size, or without pixels.
    """
    if not data:
        raise Refusal(422, "the picture is empty (0 bytes); send the file's bytes as the body")
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            header = Header("PNG", *struct.unpack_from(">II", data, 16))
        elif data.startswith(b"\xff\xd8\xff"):
            header = Header("JPEG", *_jpeg(data))
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            header = Header("WEBP", *_webp(data))
        else:
            raise Refusal(415, "the body is not a JPEG, PNG or WebP picture; convert it to one")
    except (struct.error, IndexError):
        raise Refusal(422, "the picture is cut off within its header; send all of it") from None
    if not header.width or not header.height:
        raise Refusal(422, f"the picture has no pixels: {header.width} x {header.height}")
    return header


def _jpeg(data: bytes) -> tuple[int, int]:
    place = 2
    for _ in range(MOST_MARKERS):
        if data[place] != 0xFF:
            raise Refusal(422, "the JPEG is damaged: no marker where one must stand")
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker in ALONE:
            place += 2
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        if marker in FRAMES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        if marker == 0xDA or length < 2:  # pixels before a size
            raise Refusal(422, "the JPEG is damaged: it does not say its size")
        place += 2 + length
    raise Refusal(422, f"the JPEG is damaged: no size within {MOST_MARKERS} markers")


def _webp(data: bytes) -> tuple[int, int]:
    chunk = data[12:16]
    if chunk == b"VP8X":  # 24 bits each, less one
        low, high, low_down, high_down = struct.unpack_from("<HBHB", data, 24)
        return (high << 16 | low) + 1, (high_down << 16 | low_down) + 1
    if chunk == b"VP8L":  # 14 bits each, less one
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":  # 14 bits each, 2 of scaling
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise Refusal(422, "the WebP is damaged: its first chunk holds no picture")
