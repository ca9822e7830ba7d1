"""What the sticker judge recognises in the boxes that were asked for."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from gligen.evaluation.layout import Instance
from grounding.geometry import Box
from grounding.stickers.judge import StickerJudge, crop

__all__ = ["Tally", "box_of_difference"]

DIFFERENCE = 40  # of 255, the largest channel: what differs more from a plain background is object


@dataclasses.dataclass
class Tally:
    """Counts of what the judge recognised.

    Attributes:
        objects: Requested objects.
        concepts: Objects whose concept was named rightly.
        with_material: Requested objects that are made of a material.
        materials: Of those, how many had their material named rightly.
    """

    objects: int = 0
    concepts: int = 0
    with_material: int = 0
    materials: int = 0

    def add(self, asked: Sequence[Instance], image: np.ndarray, judge: StickerJudge) -> None:
        """Judge one picture, uint8 [H, W, 3], inside the boxes asked for."""
        names = judge.names([crop(image, instance.box) for instance in asked])
        for instance, (concept, material) in zip(asked, names, strict=True):
            self.objects += 1
            self.concepts += concept == instance.noun
            if instance.attribute:
                self.with_material += 1
                self.materials += material == instance.attribute

    def joined(self, other: "Tally") -> "Tally":
        """Both together."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Tally(*map(sum, pairs))

    def rates(self) -> dict[str, float | int]:
        """Shares recognised."""
        return {
            "objects": self.objects,
            "concept_top1": self.concepts / max(1, self.objects),
            "material_top1": self.materials / max(1, self.with_material),
        }


def box_of_difference(image: np.ndarray) -> Box | None:
    """Where a picture differs from its plain background.

    Args:
        image: uint8 [H, W, 3]; its background is the median colour of its rim.

    Returns:
        Normalised xyxy around everything that differs, specks aside; None if nothing does.
    """
    rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    difference = np.abs(image.astype(np.int16) - np.median(rim, 0)).max(-1)
    mask = (difference > DIFFERENCE).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    height, width = mask.shape
    return (
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )
