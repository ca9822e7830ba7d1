"""The sticker judge as a detector: something else says where objects are, the judge what they are.

Axes: B crops, H W the picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gligen.evaluation.detection import Detection, distinct
from grounding.geometry import Box
from grounding.stickers.judge import PLAIN, StickerJudge, crop

__all__ = ["JudgeDetector", "Proposal"]

# With the embedded SEEM, on 14 rendered scenes of training: 25 of 27 objects are found and nothing
# else; 0.2 finds no more, and something wrong on every third.
THRESHOLD = 0.3

Proposal = tuple[Box, float]  # where something is, and how certainly it is an object, in [0, 1]


class JudgeDetector:
    """Finds the sticker world's objects, and tells their materials.

    A detection's score is the certainty that there is an object times the judge's in its name. Of
    proposals that overlap the most certain is kept, whatever it is.
    """

    tells_attributes = True

    def __init__(
        self,
        judge: StickerJudge,
        propose: Callable[[UInt8[np.ndarray, "H W 3"]], Sequence[Proposal]],
        *,
        name: str = "judge",
        threshold: float = THRESHOLD,
    ) -> None:
        """Join the two.

        Args:
            judge: Names what is in a crop.
            propose: Says where objects are on a picture, whatever they are.
            name: For the report.
            threshold: The score from which a detection counts.
        """
        self.judge, self.propose = judge, propose
        self.name, self.threshold = name, threshold

    def knows(self, text: str) -> bool:
        """Tell whether it is a concept of the judge."""
        return text in self.judge.concepts

    def view(self, image: UInt8[np.ndarray, "H W 3"]) -> "_View":
        """Name everything on a picture."""
        places = [Detection(text="", box=box, score=score) for box, score in self.propose(image)]
        kept = distinct(places)
        if not kept:
            return _View(self.judge, image, [])
        concepts, _ = _chances(self.judge, image, [place.box for place in kept])
        chances, names = concepts.max(1)
        found = [
            Detection(
                text=self.judge.concepts[name], box=place.box, score=min(1.0, place.score * chance)
            )
            for place, name, chance in zip(kept, names.tolist(), chances.tolist(), strict=True)
        ]
        return _View(self.judge, image, found)


@dataclass(frozen=True, eq=False)
class _View:
    """One picture and all that is on it."""

    judge: StickerJudge
    image: UInt8[np.ndarray, "H W 3"]
    found: Sequence[Detection]

    def find(self, texts: Sequence[str]) -> list[Detection]:
        """Return what was named so."""
        return [detection for detection in self.found if detection.text in texts]

    def attribute(self, box: Box, noun: str, choices: Sequence[str]) -> str | None:
        """Tell the material; `noun` does not matter."""
        del noun
        _, materials = _chances(self.judge, self.image, [box])
        name = self.judge.materials[int(materials.argmax())]
        return name if name != PLAIN and name in choices else None


@torch.no_grad()
def _chances(
    judge: StickerJudge, image: np.ndarray, boxes: Sequence[Box]
) -> tuple[Float[Tensor, "B concepts"], Float[Tensor, "B materials"]]:
    """Probabilities of all concepts and materials in each box."""
    pixels = np.stack([crop(image, box) for box in boxes])
    concepts, materials = judge(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1)
    return concepts.softmax(1), materials.softmax(1)
