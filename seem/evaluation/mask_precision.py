"""Mask average precision, computed by COCO's own code (https://cocodataset.org/#detection-eval).

Axes: N objects, H W the image.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from grounding.average_precision import average_precision
from grounding.masks import bitmap_to_rle
from seem.coco import instance_results
from seem.postprocess import Instances

__all__ = ["MaskPrecision"]


class MaskPrecision:
    """Objects of classes over images, given one after another; kept as run lengths."""

    def __init__(self, classes: int) -> None:
        """Begin with nothing.

        Args:
            classes: How many there are; those of stuff do not matter.
        """
        self.category_ids = [1 + index for index in range(classes)]
        self._images: list[dict[str, Any]] = []
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def add(
        self,
        masks: Sequence[Bool[np.ndarray, "H W"]],
        labels: Sequence[int],
        crowds: Sequence[bool],
        found: Instances,
    ) -> None:
        """Count one image.

        Args:
            masks: The true objects.
            labels: The class of each.
            crowds: Whether it stands for many: what is found there does not count.
            found: The answer.
        """
        image_id = len(self._images) + 1
        height, width = found.masks.shape[1:]
        self._images.append({"id": image_id, "height": height, "width": width})
        for mask, label, crowd in zip(masks, labels, crowds, strict=True):
            rle = bitmap_to_rle(mask)
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            extent = [int(columns[0]), int(rows[0]), int(np.ptp(columns)), int(np.ptp(rows))]
            self._truth.append(
                {
                    "id": len(self._truth) + 1,
                    "image_id": image_id,
                    "category_id": self.category_ids[label],
                    "segmentation": {"size": list(rle.size), "counts": rle.counts},
                    "bbox": [*extent[:2], extent[2] + 1, extent[3] + 1],
                    "area": int(mask.sum()),
                    "iscrowd": int(crowd),
                }
            )
        self._found += instance_results(found, image_id=image_id, category_ids=self.category_ids)

    def result(self) -> dict[str, float | int]:
        """`map` over IoU 0.5 to 0.95, `ap50`, `ap75`, and the number of true `objects`.

        Means over the classes that occur in the truth.
        """
        objects = sum(not entry["iscrowd"] for entry in self._truth)
        values = average_precision(
            self._images, self._truth, self._found, self.category_ids, kind="segm"
        )
        return dict(zip(("map", "ap50", "ap75"), values, strict=True)) | {"objects": objects}
