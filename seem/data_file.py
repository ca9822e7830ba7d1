"""Reading files of data sets: bounded JSON, images, segmentations; one clear line per failure.

Axes: H W the image.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from pycocotools import mask as coco_mask

from grounding.drops import Dropped
from grounding.errors import PromptError
from grounding.find_file import FileFinder
from grounding.formats.annotation import Entry, image_size, pixel_rings, read_rle, same_shape
from grounding.formats.fields import as_object
from grounding.formats.foreign import check_kind
from grounding.formats.remarks import Remarks
from grounding.geometry import Size
from grounding.jsonfile import parse_json, read_text
from grounding.masks import rle_to_bitmap
from grounding.picture_file import open_picture

__all__ = [
    "read_image",
    "read_or_drop",
    "read_json",
    "read_segmentation",
    "told_size",
]

MAX_BYTES = 2**30  # COCO's largest annotation file has 0.45 GB


def read_json(path: Path, wanted: str | None = None) -> Mapping[str, object]:
    """Read an object from a JSON file.

    Args:
        path: Of the file.
        wanted: One of the kinds of `grounding.formats.foreign`; None: of any kind.

    Raises:
        PromptError: naming the file.
    """
    try:
        data = parse_json(read_text(path, MAX_BYTES))
        if wanted is not None:
            check_kind(data, wanted)
        return as_object(data, "the file")
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None


def read_or_drop(find: FileFinder, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """Read an image of a data set.

    Raises:
        Dropped: it is missing or cannot be read; the others are fine.
    """
    try:
        file = find(name)
    except PromptError as error:
        raise Dropped("no such file", str(error)) from None
    try:
        return read_image(file)
    except PromptError as error:
        raise Dropped("a picture that cannot be read", str(error)) from None


def read_image(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """Read an image as people see it.

    Raises:
        PromptError: it is none.
    """
    return np.array(open_picture(path))


def told_size(image: Entry, pixels: np.ndarray) -> Size | None:
    """(width, height) of an image as its file says; None if it does not.

    Args:
        image: Its entry.
        pixels: The image itself, [H, W, ...].

    Raises:
        Dropped: the two are of other shapes, so nobody knows what annotations refer to.
    """
    told, (height, width) = image_size(image), pixels.shape[:2]
    if told is not None and not same_shape(told, (width, height)):
        detail = f"{width}x{height} for {told[0]}x{told[1]}"
        raise Dropped("a picture of another shape than its annotations", detail)
    return told


def read_segmentation(
    value: object,
    size: tuple[int, int],
    where: str,
    *,
    told: Size | None = None,
    remarks: Remarks | None = None,
) -> Bool[np.ndarray, "H W"]:
    """Read COCO's segmentation: polygons, or run lengths as numbers or as text.

    Args:
        value: From JSON.
        size: (height, width) of the image.
        where: Which entry it is, for messages.
        told: (width, height) of the image as its file says, to which the segmentation belongs: of
            the same shape (`told_size`). None: those of the image.
        remarks: Notes parts of outlines that are left out.

    Raises:
        PromptError: it is none.
    """
    height, width = size
    own_width, own_height = told or (width, height)
    if value is None:
        return np.zeros(size, bool)
    if isinstance(value, Mapping):
        bitmap = rle_to_bitmap(read_rle(value, where, (own_width, own_height))).astype(np.uint8)
        if bitmap.shape != size:
            bitmap = cv2.resize(bitmap, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    else:
        rings = pixel_rings(value, where, Remarks() if remarks is None else remarks)
        if not rings:
            return np.zeros(size, bool)
        if (own_height, own_width) != size:
            scales = (width / own_width, height / own_height)
            rings = [[v * scales[i % 2] for i, v in enumerate(ring)] for ring in rings]
        polygons: Any = rings  # pycocotools' stubs know no polygons
        bitmap = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))
    return np.ascontiguousarray(bitmap).astype(bool)
