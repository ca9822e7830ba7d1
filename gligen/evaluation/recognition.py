"""What the sticker judge recognises in the boxes that were asked for."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gligen.evaluation.layout import Instance
from grounding.stickers.judge import StickerJudge, crop

__all__ = ["Tally"]


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
