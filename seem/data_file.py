"""Reading files of data sets: bounded JSON, images, segmentations; one clear line per failure.

Axes: H W the image.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from pycocotools import mask as coco_mask

from grounding.errors import LavallamaError, PromptError
from grounding.formats.fields import as_list, as_number, as_object, as_whole, needed
from grounding.jsonfile import describe, parse_json, read_text
from grounding.masks import rle_to_bitmap
from grounding.picture_file import open_picture
from grounding.region import MAX_SIDE, RleMask

__all__ = [
    "index_by_id",
    "read_image",
    "read_json",
    "read_segmentation",
]

MAX_BYTES = 2**30  # COCO's largest annotation file has 0.45 GB


def read_json(path: Path) -> Mapping[str, object]:
    """Read an object from a JSON file.

    Raises:
        PromptError: naming the file.
    """
    try:
        return as_object(parse_json(read_text(path, MAX_BYTES)), "the file")
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None


def index_by_id(data: Mapping[str, object], key: str) -> dict[object, Mapping[str, object]]:
    """The entries of a list by their ids.

    Raises:
        PromptError: an entry is no object, or has no id, or two have one.
    """
    entries: dict[object, Mapping[str, object]] = {}
    for place, value in enumerate(as_list(needed(data, key, ""), key)):
        entry = as_object(value, f"{key}[{place}]")
        number = as_whole(needed(entry, "id", f"{key}[{place}]"), f"{key}[{place}].id", 0)
        if number in entries:
            raise PromptError(f"{key}[{place}].id: {number} appears twice; ids must be unique")
        entries[number] = entry
    return entries


def read_image(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """Read an image as people see it.

    Raises:
        PromptError: it is none.
    """
    return np.array(open_picture(path))


def read_segmentation(value: object, size: tuple[int, int], where: str) -> Bool[np.ndarray, "H W"]:
    """Read COCO's segmentation: polygons, or run lengths as numbers or as text.

    Args:
        value: From JSON.
        size: (height, width) of the image.
        where: Which entry it is, for messages.

    Raises:
        PromptError: it is none.
    """
    height, width = size
    if isinstance(value, Mapping):
        try:
            rle = RleMask.model_validate(dict(value))
        except LavallamaError as error:
            raise PromptError(f"{where}: {error}") from None
        if rle.size != size:
            raise PromptError(
                f"{where}: expected run lengths of {height} x {width} pixels, got "
                f"{rle.size[0]} x {rle.size[1]}"
            )
        bitmap = rle_to_bitmap(rle)
    else:
        rings = [_ring(ring, f"{where}[{i}]") for i, ring in enumerate(as_list(value, where))]
        if not rings:
            return np.zeros(size, bool)
        polygons: Any = rings  # pycocotools' stubs know no polygons
        bitmap = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))
    return np.ascontiguousarray(bitmap).astype(bool)


def _ring(value: object, where: str) -> list[float]:
    numbers = [as_number(item, where) for item in as_list(value, where)]
    if len(numbers) < 6 or len(numbers) % 2:
        raise PromptError(
            f"{where}: expected x, y of at least 3 vertices in turn, got {describe(numbers)}"
        )
    if max(map(abs, numbers)) > MAX_SIDE:
        raise PromptError(f"{where}: expected pixels, got {describe(max(numbers, key=abs))}")
    return numbers
