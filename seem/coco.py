"""What was found, in the files that COCO's evaluators read.

Instances: https://cocodataset.org/#format-results. Panoptic: the same page, and
https://arxiv.org/abs/1801.00868, section 4: a PNG whose colours are segment ids, and a JSON entry
that says what they are. Category ids are the data set's, not indices of classes: COCO's have gaps.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from PIL import Image

from grounding.errors import LavallamaError, PromptError
from grounding.files import write_files
from grounding.formats.annotation import same_shape
from grounding.masks import bitmap_to_rle
from grounding.picture_file import open_upright
from seem.postprocess import Instances, Panoptic
from seem.results import mask_boxes

__all__ = [
    "HEADER_BYTES",
    "PanopticEntry",
    "check_panoptic_header",
    "instance_results",
    "panoptic_entry",
    "panoptic_png",
    "read_panoptic_png",
    "write_panoptic",
]

HEADER_BYTES = 26  # of a PNG: its signature, size, depth and kind of colours
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {  # of a PNG's header (ISO/IEC 15948, 11.2.2)
    b"\x00": "grey (L)",
    b"\x02": "RGB of 16 bits",
    b"\x03": "a palette (P)",
    b"\x04": "grey with transparency (LA)",
    b"\x06": "colours with transparency (RGBA)",
}
COLOUR_BASE = 256  # id = red + 256 green + 256^2 blue


@dataclass(frozen=True, kw_only=True)
class PanopticEntry:
    """One image's panoptic result.

    Args:
        annotation: its entry of the JSON file's "annotations".
        png: the bytes of the file that the entry names.
    """

    annotation: Mapping[str, Any]
    png: bytes


def instance_results(
    found: Instances, *, image_id: int, category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the entries of one image for COCO's results file, boxes as xywh pixels.

    Args:
        found: from `seem.postprocess.instances`, at the image's own size.
        image_id: the data set's number of the image.
        category_ids: the data set's number of each class, by index.

    Raises:
        LavallamaError: a class has no category.
    """
    entries = []
    masks = found.masks.cpu().numpy()
    for index, (x0, y0, x1, y1) in enumerate(mask_boxes(found.masks).tolist()):
        rle = bitmap_to_rle(masks[index])
        entries.append(
            {
                "image_id": image_id,
                "category_id": _category(category_ids, int(found.labels[index])),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "segmentation": {"size": list(rle.size), "counts": rle.counts},
                "score": float(found.scores[index]),
            }
        )
    return entries


def panoptic_entry(
    found: Panoptic, *, image_id: int, file_name: str, category_ids: Sequence[int]
) -> PanopticEntry:
    """Describe one image's segments for COCO's panoptic file, boxes as xywh pixels.

    Args:
        found: from `seem.postprocess.panoptic`, at the image's own size.
        image_id: the data set's number of the image.
        file_name: of the PNG, such as "000000000139.png".
        category_ids: the data set's number of each class, by index.

    Raises:
        LavallamaError: a class has no category.
    """
    segments = []
    for segment in found.segments:
        x0, y0, x1, y1 = map(int, mask_boxes((found.map == segment.id)[None])[0].tolist())
        segments.append(
            {
                "id": segment.id,
                "category_id": _category(category_ids, segment.label),
                "area": segment.area,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
            }
        )
    annotation = {"image_id": image_id, "file_name": file_name, "segments_info": segments}
    return PanopticEntry(annotation=annotation, png=panoptic_png(found.map.cpu().numpy()))


def panoptic_png(ids: Int[np.ndarray, "H W"]) -> bytes:
    """Paint segment ids as colours; 0, black, is nothing.

    Raises:
        LavallamaError: an id that no colour stands for.
    """
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < COLOUR_BASE**3:
        raise LavallamaError(
            f"a PNG holds segment ids from 0 to {COLOUR_BASE**3 - 1}; got {ids.min()} to "
            f"{ids.max()}: number the segments from 1"
        )
    colours = np.stack([ids // COLOUR_BASE**power % COLOUR_BASE for power in range(3)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(colours.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def check_panoptic_header(data: bytes, name: object) -> None:
    """Look at the first `HEADER_BYTES` of a file: whether it is a PNG of three colours.

    Raises:
        LavallamaError: it is not; naming the file.
    """
    if not data.startswith(PNG_SIGNATURE):
        what = "a JPEG, which changes ids" if data.startswith(b"\xff\xd8") else "none"
        raise LavallamaError(f"{name}: expected a PNG of segment ids; this is {what}")
    depth, kind = data[24:25], data[25:26]
    if kind != b"\x02" or depth != b"\x08":
        what = COLOUR_TYPES.get(kind, "another kind of colours")
        raise LavallamaError(
            f"{name}: expected segment ids in three colours (RGB, 8 bits), got {what}; export it "
            "as RGB, id = R + 256 G + 65536 B"
        )


def read_panoptic_png(
    data: bytes, name: object = "a panoptic map", size: tuple[int, int] | None = None
) -> Int[np.ndarray, "H W"]:
    """Read segment ids, int32 `[H, W]`, from the bytes of such a PNG.

    Args:
        data: of the file.
        name: of the file, for messages.
        size: (height, width) of its image, onto which ids are stretched; None: their own. The
            shapes must agree.

    Raises:
        LavallamaError: it is not one, or of another shape than the image.
    """
    check_panoptic_header(data, name)
    try:
        image = open_upright(io.BytesIO(data))
    except PromptError as error:
        raise LavallamaError(f"{name}: expected a PNG of segment ids: {error}") from None
    colours = np.asarray(image, np.int32)
    ids = colours @ np.array([1, COLOUR_BASE, COLOUR_BASE**2], np.int32)
    if size is None or ids.shape == size:
        return ids
    height, width = ids.shape
    if not same_shape((width, height), (size[1], size[0])):
        raise LavallamaError(
            f"{name}: is of another shape than its image: expected {size[1]}x{size[0]} pixels, got "
            f"{width}x{height}"
        )
    rows, columns = (
        (np.arange(side) + 0.5) * own / side for side, own in zip(size, ids.shape, strict=True)
    )
    return ids[rows.astype(int)[:, None], columns.astype(int)]


def write_panoptic(path: Path, entries: Sequence[PanopticEntry]) -> None:
    """Write COCO's panoptic results: the JSON, and beside it a folder of its name with the PNGs.

    Args:
        path: of the JSON file, such as "panoptic_val2017.json".
        entries: one an image.

    Raises:
        LavallamaError: a file name is not one image's own, or the path does not end in ".json".
        OutputError: something could not be written; then nothing is.
    """
    if path.suffix != ".json":
        raise LavallamaError(
            f"panoptic results go to a .json file, the PNGs to the folder beside it; got {path}"
        )
    folder = path.with_suffix("")
    names = [str(entry.annotation["file_name"]) for entry in entries]
    if len(set(names)) < len(names) or any(Path(name).name != name for name in names):
        raise LavallamaError(
            "every image needs a file name of its own, without folders; got "
            f"{', '.join(names[:3])}{', ...' * (len(names) > 3)}"
        )
    files = {folder / name: entry.png for name, entry in zip(names, entries, strict=True)}
    text = json.dumps({"annotations": [dict(entry.annotation) for entry in entries]})
    write_files(files | {path: text.encode()})


def _category(category_ids: Sequence[int], label: int) -> int:
    if not 0 <= label < len(category_ids):
        raise LavallamaError(
            f"every class needs a category id: class {label} was found, {len(category_ids)} ids "
            "were given"
        )
    return category_ids[label]
