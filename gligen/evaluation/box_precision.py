"""Box average precision: what a detector finds on the pictures against the boxes asked for.

GLIGEN's grounding score (arXiv 2301.07093, section 5.1, "YOLO score"; Li et al., "Image Synthesis
from Layout with Locality-Aware Mask Adaption", 2021), computed by COCO's own code.
"""

from collections.abc import Sequence
from typing import Any

from gligen.evaluation.detection import Detection
from gligen.evaluation.layout import Instance
from grounding.average_precision import average_precision
from grounding.geometry import Size, normalized_to_pixels, xyxy_to_xywh

__all__ = ["BoxPrecision"]

MOST_FOUND = 100  # on a picture: more are not looked at in COCO's challenge either


class BoxPrecision:
    """Pictures, given one after another."""

    def __init__(self, classes: Sequence[str]) -> None:
        """Begin with nothing.

        Args:
            classes: All nouns that may be asked for or found.
        """
        self.category = {name: number for number, name in enumerate(classes, 1)}
        self._images: list[dict[str, Any]] = []
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def add(
        self,
        asked: Sequence[Instance],
        found: Sequence[Detection],
        size: Size,
        *,
        ignored: Sequence[Instance] = (),
    ) -> None:
        """Count one picture.

        Args:
            asked: What should be there.
            found: What is; the 100 most certain count.
            size: (width, height) in pixels.
            ignored: Objects, finding which does not count.
        """
        number = len(self._images) + 1
        self._images.append({"id": number, "width": size[0], "height": size[1]})
        for crowd, instances in enumerate((asked, ignored)):  # COCO leaves out what crowds cover
            for instance in instances:
                entry = self._entry(number, instance.noun, instance.box, size)
                self._truth.append(entry | {"id": len(self._truth) + 1, "iscrowd": crowd})
        surest = sorted(found, key=lambda detection: -detection.score)[:MOST_FOUND]
        for detection in surest:
            entry = self._entry(number, detection.text, detection.box, size)
            self._found.append(entry | {"score": detection.score})

    def result(self) -> dict[str, float | int]:
        """`ap` over IoU 0.5 to 0.95, `ap50`, `ap75`: means over the classes that were asked for.

        And `instances`, how many were.
        """
        values = average_precision(
            self._images, self._truth, self._found, list(self.category.values()), kind="bbox"
        )
        counted = sum(not entry["iscrowd"] for entry in self._truth)
        return dict(zip(("ap", "ap50", "ap75"), values, strict=True)) | {"instances": counted}

    def _entry(self, image: int, noun: str, box: Any, size: Size) -> dict[str, Any]:
        x, y, width, height = xyxy_to_xywh(normalized_to_pixels(box, size))
        return {
            "image_id": image,
            "category_id": self.category[noun],
            "bbox": [x, y, width, height],
            "area": width * height,
        }
