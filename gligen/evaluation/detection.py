"""What a detector is, and what it finds. Boxes are normalised xyxy, origin top left.

Axes: H W the picture.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from grounding.geometry import Box, box_iou

__all__ = [
    "MATCH",
    "Detection",
    "Detector",
    "View",
    "best_overlap",
    "certain",
    "compare_attributes",
    "distinct",
    "likely",
]

MATCH = 0.5  # IoU from which a found box is the one that was asked for; COCO-MIG's too
DUPLICATE = 0.5  # IoU from which two boxes of one text are one object; LLM-grounded Diffusion's too


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One object that was found.

    Attributes:
        text: The one of the texts looked for that it was found as.
        box: Normalised xyxy.
        score: In [0, 1].
    """

    text: str
    box: Box
    score: float


class View(Protocol):
    """One picture, looked at by a detector."""

    def find(self, texts: Sequence[str]) -> list[Detection]:
        """Find all objects of some texts, uncertain ones too.

        Args:
            texts: Different names, all of which the detector knows. Several compete where the
                detector works so; one is searched by itself.
        """
        ...

    def attribute(self, box: Box, noun: str, choices: Sequence[str]) -> str | None:
        """Tell which of some attributes the object in a box has, such as "lava"; None: none.

        Args:
            box: Where a `noun` was found.
            noun: What it is.
            choices: The attributes to choose from.
        """
        ...


class Detector(Protocol):
    """Whatever finds objects by name.

    Attributes:
        name: For the report.
        threshold: The score from which a detection counts as an object.
        tells_attributes: Whether `View.attribute` means anything.
    """

    name: str
    threshold: float
    tells_attributes: bool

    def knows(self, text: str) -> bool:
        """Tell whether it can look for a text at all."""
        ...

    def view(self, image: UInt8[np.ndarray, "H W 3"]) -> View:
        """Look at a picture."""
        ...


def distinct(found: Iterable[Detection], overlap: float = DUPLICATE) -> list[Detection]:
    """Of detections of one text that overlap keep the most certain; the result is so ordered."""
    kept: list[Detection] = []
    for each in sorted(found, key=lambda detection: -detection.score):
        rivals = (other for other in kept if other.text == each.text)
        if all(box_iou(each.box, other.box) < overlap for other in rivals):
            kept.append(each)
    return kept


def likely(view: View, detector: Detector, text: str) -> list[Detection]:
    """What reaches the detector's threshold for one text; nothing if it does not know it."""
    if not detector.knows(text):
        return []
    return [found for found in view.find([text]) if found.score >= detector.threshold]


def certain(view: View, detector: Detector, text: str) -> list[Detection]:
    """The objects of one text that count, each once, the most certain first."""
    return distinct(likely(view, detector, text))


def best_overlap(box: Box, found: Iterable[Detection]) -> tuple[float, Detection | None]:
    """The largest IoU with a box, and the detection that has it; (0, None) if nothing overlaps."""
    best: tuple[float, Detection | None] = (0.0, None)
    for each in found:
        overlap = box_iou(box, each.box)
        if overlap > best[0]:
            best = overlap, each
    return best


def compare_attributes(view: View, box: Box, noun: str, choices: Sequence[str]) -> str | None:
    """Tell an attribute by words: "lava llama" against "ice llama" and all others.

    Args:
        view: Of a detector that knows any words.
        box: Where a `noun` was found.
        noun: What it is.
        choices: The attributes.

    Returns:
        The attribute whose phrase is found in that box with the highest score; None if none is.
    """
    best: tuple[float, str | None] = (0.0, None)
    for choice in choices:
        here = [d for d in view.find([f"{choice} {noun}"]) if box_iou(d.box, box) >= MATCH]
        score = max((found.score for found in here), default=0.0)
        if score > best[0]:
            best = score, choice
    return best[1]
