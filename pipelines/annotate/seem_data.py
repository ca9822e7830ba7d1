"""What `lavallama train seem` reads: COCO panoptic; beside it COCO's instances and captions.

https://cocodataset.org/#format-data. Categories are names without attributes; where masks overlap,
the more certain region has the pixels, and things have them before stuff. Axes: H W the picture.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from grounding.geometry import normalized_to_pixels, xyxy_to_xywh
from grounding.masks import bitmap_to_box, rle_to_bitmap
from grounding.picture_file import is_turned, open_picture
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from pipelines.annotate.annotator import NAME_KEY, THING_KEY
from pipelines.annotate.record import Record

__all__ = ["seem_files"]

UPRIGHT = "upright"  # folder of pictures that were turned
DIGITS = 2  # of pixels, as COCO has them
Content = bytes | Callable[[Path], object]


def seem_files(records: Sequence[Record], folder: Path) -> dict[Path, Content]:
    """Contents of all files, by their paths.

    Args:
        records: In order.
        folder: Where they go; pictures are named relative to it. A picture that EXIF turns is
            copied there upright, since masks are of the picture as people see it.
    """
    maker = _Maker(records, folder)
    files: dict[Path, Content] = {}
    for number, record in enumerate(records, 1):
        document = record.document()
        files |= maker.add(number, record, document)
    parts: dict[str, list[dict[str, Any]]] = {
        "panoptic": maker.panoptic,
        "instances": maker.instances,
        "captions": maker.captions,
    }
    for kind, annotations in parts.items():
        content: dict[str, Any] = {"images": maker.images, "annotations": annotations}
        if kind != "captions":
            content["categories"] = maker.categories
        data = json.dumps(content, ensure_ascii=False).encode()
        files[folder / f"{kind}_annotated.json"] = data
    return files


class _Maker:
    """Gathers the entries of COCO's files."""

    def __init__(self, records: Sequence[Record], folder: Path) -> None:
        self.folder = folder
        found = {name for record in records for name in map(_category, record.document().regions)}
        self.numbers = {name: number for number, name in enumerate(sorted(found), 1)}
        self.categories = [
            {"id": number, "name": name, "isthing": int(thing)}
            for (name, thing), number in self.numbers.items()
        ]
        self.images: list[dict[str, Any]] = []
        self.panoptic: list[dict[str, Any]] = []
        self.instances: list[dict[str, Any]] = []
        self.captions: list[dict[str, Any]] = []

    def add(self, number: int, record: Record, document: GroundedPrompt) -> dict[Path, Content]:
        """Take a picture in; returns the files of its own."""
        assert document.canvas is not None, "annotated pictures have a size"
        size, files = document.canvas.size, {}
        name = record.path_from(self.folder)
        if is_turned(record.path):
            name = f"{UPRIGHT}/{record.picture}.png"
            files[self.folder / name] = _upright(record.path)
        self.images.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        self.captions.append({"id": number, "image_id": number, "caption": document.prompt})
        png = f"{number:012d}.png"
        ids = _shared_out(document, size)
        files[self.folder / "panoptic_annotated" / png] = _map_of(record)
        segments = []
        for place, region in enumerate(document.regions, 1):
            category = self.numbers[_category(region)]
            if region.attributes[THING_KEY] and region.bounds() is not None:
                self.instances.append(
                    {
                        "id": len(self.instances) + 1,
                        "image_id": number,
                        **_annotation(region, size, category),
                    }
                )
            mine = ids == place
            if mine.any():
                area = {"area": int(mine.sum()), "bbox": _pixels(bitmap_to_box(mine), size)}
                segments.append({"id": place, "category_id": category, **area, "iscrowd": 0})
        self.panoptic.append({"image_id": number, "file_name": png, "segments_info": segments})
        return files


def _category(region: Region) -> tuple[str, bool]:
    return str(region.attributes[NAME_KEY]), bool(region.attributes[THING_KEY])


def _annotation(region: Region, size: tuple[int, int], category: int) -> dict[str, Any]:
    if region.mask is None:  # of a person
        box = _pixels(region.bounds(), size)
        return {"category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
    return {
        "category_id": category,
        "bbox": _pixels(region.bounds(), size),
        "area": int(sum(region.mask.runs()[1::2])),
        "segmentation": {"size": list(region.mask.size), "counts": region.mask.counts},
        "iscrowd": 0,
        "score": region.score,
    }


def _pixels(box: Any, size: tuple[int, int]) -> list[float]:
    """A normalised box as COCO's xywh pixels."""
    return [round(value, DIGITS) for value in xyxy_to_xywh(normalized_to_pixels(box, size))]


def _shared_out(document: GroundedPrompt, size: tuple[int, int]) -> Int[np.ndarray, "H W"]:
    """Which region has each pixel: i is the i-th, 0 none."""
    ids = np.zeros(size[::-1], np.int32)
    order = sorted(
        enumerate(document.regions, 1), key=lambda item: (item[1].z, item[1].score or 0, -item[0])
    )
    for place, region in order:
        if region.mask is not None:
            ids[rle_to_bitmap(region.mask)] = place
    return ids


def _map_of(record: Record) -> Callable[[Path], object]:
    from seem.coco import panoptic_png  # comes with torch

    def write(to: Path) -> None:
        document = record.document()
        assert document.canvas is not None, "annotated pictures have a size"
        to.write_bytes(panoptic_png(_shared_out(document, document.canvas.size)))

    return write


def _upright(path: Path) -> Callable[[Path], object]:
    def write(to: Path) -> None:
        open_picture(path).save(to, "PNG")

    return write
