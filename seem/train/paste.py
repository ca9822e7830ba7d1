"""Objects of other pictures laid over a picture: more to name, more that hides something, twins.

Axes: H W pixels, h w a piece's. (Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation
Method for Instance Segmentation", arXiv 2012.07177.)
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from grounding.masks import bitmap_to_box
from seem.train.scenes import Record

__all__ = ["Piece", "cut", "paste"]

SCALES = (0.6, 1.3)
LARGEST = 0.55  # side of a pasted piece, of the picture's
TRIES = 4  # places that are looked at; the one that hides least is taken
Image = UInt8[np.ndarray, "H W 3"]
Owners = UInt8[np.ndarray, "H W"]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """An object cut out of its picture, and its names."""

    image: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]
    concept: str | None
    material: str | None


def cut(image: Image, ids: Owners, record: Record, number: int) -> Piece | None:
    """Cut out an object; None: nothing of it is visible."""
    box = bitmap_to_box(ids == number)
    if box is None:
        return None
    height, width = ids.shape
    x0, y0, x1, y1 = (round(v * n) for v, n in zip(box, (width, height) * 2, strict=True))
    return Piece(
        image=image[y0:y1, x0:x1],
        mask=ids[y0:y1, x0:x1] == number,
        concept=record.concepts[number - 1],
        material=record.materials[number - 1],
    )


def paste(
    image: Image, ids: Owners, record: Record, piece: Piece, generator: np.random.Generator
) -> tuple[Image, Owners, Record]:
    """Lay a piece over a picture, somewhat larger or smaller and perhaps mirrored.

    Returns:
        A new picture, its owners and its record; the piece is its last object.
    """
    height, width = ids.shape
    high, wide = piece.mask.shape
    scale = min(generator.uniform(*SCALES), LARGEST * height / high, LARGEST * width / wide)
    size = max(1, round(wide * scale)), max(1, round(high * scale))
    pixels = cv2.resize(np.ascontiguousarray(piece.image), size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(piece.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT) > 0
    if generator.random() < 0.5:
        pixels, mask = pixels[:, ::-1], mask[:, ::-1]
    y, x = _place(ids, mask, generator)
    window = np.s_[y : y + mask.shape[0], x : x + mask.shape[1]]
    image, ids = image.copy(), ids.copy()
    image[window][mask] = pixels[mask]
    ids[window][mask] = len(record.concepts) + 1
    record = replace(
        record,
        concepts=(*record.concepts, piece.concept),
        materials=(*record.materials, piece.material),
    )
    return image, ids, record


def _place(
    ids: Owners, mask: Bool[np.ndarray, "h w"], generator: np.random.Generator
) -> tuple[int, int]:
    """Where a piece hides the least of the other objects, of a few places."""
    room = np.subtract(ids.shape, mask.shape) + 1
    places = [tuple(generator.integers(room).tolist()) for _ in range(TRIES)]
    high, wide = mask.shape
    return min(places, key=lambda p: (ids[p[0] : p[0] + high, p[1] : p[1] + wide] > 0)[mask].sum())
