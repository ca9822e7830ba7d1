"""What was found, as objects of other libraries, if they are installed: supervision, detectron2.

Neither is needed to run anything here. Boxes are xyxy pixels, ends exclusive, around the masks.
https://supervision.roboflow.com, https://detectron2.readthedocs.io/tutorials/models.html
"""

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from grounding.errors import LavallamaError
from seem.postprocess import Instances, Panoptic
from seem.results import mask_boxes

__all__ = ["to_detectron2", "to_detectron2_panoptic", "to_supervision"]


def to_supervision(found: Instances, names: Sequence[str]) -> Any:
    """Return `supervision.Detections`, with the classes' names as `data["class_name"]`.

    Raises:
        LavallamaError: supervision is not installed, or a class has no name.
    """
    supervision = _library("supervision", "pip install supervision")
    labels = found.labels.cpu().numpy()
    if len(labels) and labels.max() >= len(names):
        raise LavallamaError(
            f"every class needs a name: class {labels.max()} was found, {len(names)} names were "
            "given"
        )
    return supervision.Detections(
        xyxy=mask_boxes(found.masks).cpu().numpy(),
        mask=found.masks.cpu().numpy(),
        confidence=found.scores.cpu().numpy(),
        class_id=labels,
        data={"class_name": np.array([names[label] for label in labels], dtype=str)},
    )


def to_detectron2(found: Instances) -> Any:
    """Return `detectron2.structures.Instances` with boxes, masks, scores and classes.

    Raises:
        LavallamaError: detectron2 is not installed.
    """
    structures = _library(
        "detectron2.structures", "https://detectron2.readthedocs.io/tutorials/install.html"
    )
    height, width = found.masks.shape[1:]
    return structures.Instances(
        (height, width),
        pred_boxes=structures.Boxes(mask_boxes(found.masks)),
        pred_masks=found.masks,
        scores=found.scores,
        pred_classes=found.labels,
    )


def to_detectron2_panoptic(found: Panoptic) -> tuple[Tensor, list[dict[str, Any]]]:
    """Return the pair that detectron2's models give as "panoptic_seg"; it needs no detectron2.

    A map of ids, int32 [H, W], and `{"id", "isthing", "category_id"}` of each segment, where
    category_id is the index of the class.
    """
    return found.map, [
        {"id": segment.id, "isthing": segment.is_thing, "category_id": segment.label}
        for segment in found.segments
    ]


def _library(name: str, cure: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise LavallamaError(
            f"this result needs {name.split('.')[0]}, which is not installed here; see {cure}"
        ) from error
