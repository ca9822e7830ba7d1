"""Marks that a person would make on a known object: a scribble, a box, a rough mask.

Axes: H W the image, V vertices. Coordinates are pixels, xy. Clicks are in `seem.clicks`.
"""

import math
import zlib

import cv2
import numpy as np
from jaxtyping import Bool, Int

from grounding.errors import GeometryError
from grounding.masks import bitmap_to_strokes
from seem.marks import around

__all__ = ["around", "mark_generator", "rough", "scribble"]

SHORTEST = 0.5  # of the middle line: a scribble covers at least half of it
SMEAR = 0.1  # of the square root of the area: how far a rough mask goes beyond the outline


def mark_generator(name: str, index: int) -> np.random.Generator:
    """The generator of the marks on an object: its own, whatever else is measured.

    Args:
        name: Of the image.
        index: Of the object on it.
    """
    return np.random.default_rng([zlib.crc32(name.encode()), index])


def scribble(
    mask: Bool[np.ndarray, "H W"], generator: np.random.Generator
) -> Int[np.ndarray, "V 2"]:
    """Draw along the middle of the largest part of an object.

    The line is the longest path of the part's skeleton (`grounding.masks.bitmap_to_strokes`); the
    generator chooses a piece of between half and all of it. Each vertex is moved to the nearest
    pixel of the object, if it is not one.

    Raises:
        GeometryError: the mask is empty.
    """
    part = _largest_part(mask)
    height, width = mask.shape
    lines = [np.asarray(s.xy) * (width, height) - 0.5 for s in bitmap_to_strokes(part)]
    line = max(lines, key=lambda line: float(np.hypot(*np.diff(line, axis=0).T).sum()))
    length = generator.uniform(SHORTEST, 1.0)
    start = generator.uniform(0.0, 1.0 - length)
    ys, xs = np.nonzero(part)
    pixels = np.stack((xs, ys), axis=1)
    chosen = [
        pixels[np.abs(pixels - place).max(1).argmin()]
        for place in _piece(line, start, start + length)
    ]
    return np.array(chosen, np.int64)


def rough(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """A mask as a person paints it: the object and a rim around it, a tenth of its size wide.

    Its size is the square root of its area; the rim is at least a pixel.
    """
    reach = max(1, round(SMEAR * math.sqrt(int(mask.sum()))))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(mask.astype(np.uint8), disk).astype(bool)


def _largest_part(mask: np.ndarray) -> np.ndarray:
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    if count < 2:
        raise GeometryError("an empty mask cannot be scribbled on; leave it out")
    return parts == 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())


def _piece(line: np.ndarray, start: float, end: float) -> np.ndarray:
    """The part of a polyline between two fractions of its length, [V, 2]."""
    if len(line) < 2:
        return line
    walked = np.concatenate(([0.0], np.hypot(*np.diff(line, axis=0).T).cumsum()))
    low, high = start * walked[-1], end * walked[-1]
    inner = line[(walked > low) & (walked < high)]
    ends = [[np.interp(at, walked, line[:, axis]) for axis in (0, 1)] for at in (low, high)]
    return np.concatenate(([ends[0]], inner, [ends[1]]))
