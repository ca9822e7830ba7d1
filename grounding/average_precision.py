"""Average precision, computed by COCO's own code (https://cocodataset.org/#detection-eval)."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

__all__ = ["average_precision"]

Entry = Mapping[str, Any]


def average_precision(
    images: Sequence[Entry],
    truth: Sequence[Entry],
    found: Sequence[Entry],
    categories: Sequence[int],
    *,
    kind: Literal["bbox", "segm"],
) -> tuple[float, float, float]:
    """Compare what was found with the truth.

    Args:
        images: "id", "width", "height" of each.
        truth: COCO's annotations: "id" from 1, "image_id", "category_id", "bbox" in xywh pixels,
            "area", "iscrowd", and "segmentation" as run lengths where `kind` asks for it.
        found: COCO's results: "image_id", "category_id", "score", "bbox" or "segmentation".
        categories: All category ids.
        kind: What is compared: boxes or masks.

    Returns:
        AP over IoU 0.5 to 0.95, AP at 0.5 and at 0.75, each in [0, 1]: means over the categories
        that occur in the truth; 0 without truth or without anything found.
    """
    if not found or all(entry["iscrowd"] for entry in truth):
        return 0.0, 0.0, 0.0
    results = [
        dict(entry) | {"id": number, "iscrowd": 0, "area": _area(entry, kind)}
        for number, entry in enumerate(found, 1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            _indexed(images, truth, categories), _indexed(images, results, categories), kind
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ap, ap50, ap75 = (max(0.0, float(value)) for value in evaluation.stats[:3])
    return ap, ap50, ap75


def _area(entry: Entry, kind: str) -> float:
    if kind == "segm":
        return float(coco_mask.area(entry["segmentation"]))
    return float(entry["bbox"][2] * entry["bbox"][3])


def _indexed(images: Sequence[Entry], entries: Sequence[Entry], categories: Sequence[int]) -> COCO:
    dataset: Any = {
        "images": list(images),
        "annotations": [dict(entry) for entry in entries],
        "categories": [{"id": number} for number in categories],
    }
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco
