"""The detectors of `lavallama evaluate grounding`, by name.

Axes: N masks, H W the picture.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from gligen.evaluation.detection import Detection, Detector, compare_attributes
from gligen.evaluation.judge_detector import JudgeDetector, Proposal
from gligen.evaluation.transformers_detector import load_detector
from grounding.geometry import Box, pixels_to_normalized
from grounding.stickers.judge import StickerJudge
from pipelines.device import choose_device
from pipelines.segmentation.segmenter import open_predictor
from seem.encoded_image import EncodedImage
from seem.predictor import Predictor
from seem.results import mask_boxes
from weights.choose import choose_chat
from weights.hub import fetch_files
from weights.registry import STICKERS

__all__ = ["SegmenterDetector", "object_proposals", "open_detector"]

JUDGE, SEEM = "judge", "seem"
FLOOR = 0.01  # less certain detections are dropped: COCO's AP hardly sees them
THRESHOLD = 0.5  # as `Predictor.find` has it


class SegmenterDetector:
    """A SEEM as a detector: the boxes around its masks.

    Several texts are classes that compete for the objects (`Predictor.instances`), a single one is
    searched by itself (`Predictor.find`).
    """

    tells_attributes = True

    def __init__(self, predictor: Predictor, *, name: str, threshold: float = THRESHOLD) -> None:
        """Take a predictor.

        Args:
            predictor: One that knows words.
            name: For the report.
            threshold: The score from which a detection counts.
        """
        self.predictor, self.name, self.threshold = predictor, name, threshold

    def knows(self, text: str) -> bool:
        """Tell whether there is anything to look for."""
        return bool(text.strip())

    def view(self, image: UInt8[np.ndarray, "H W 3"]) -> "_View":
        """Encode a picture."""
        return _View(self.predictor, self.predictor.encode(image))


@dataclass(frozen=True, eq=False)
class _View:
    """One picture."""

    predictor: Predictor
    image: EncodedImage

    def find(self, texts: Sequence[str]) -> list[Detection]:
        """Find all objects of some texts."""
        self.predictor.set_image(self.image)
        if len(texts) == 1:
            [found] = self.predictor.find(texts, threshold=FLOOR)
            names = [texts[0] for _ in found.scores]
            masks, scores = found.masks, found.scores
        else:
            told = self.predictor.instances(texts)
            names = [texts[int(label)] for label in told.labels.tolist()]
            masks, scores = told.masks, told.scores
        return [
            Detection(text=name, box=box, score=score)
            for name, box, score in zip(names, _boxes(masks), scores.tolist(), strict=True)
            if box is not None and score >= FLOOR
        ]

    def attribute(self, box: Box, noun: str, choices: Sequence[str]) -> str | None:
        """Tell an attribute by words."""
        return compare_attributes(self, box, noun, choices)


def object_proposals(predictor: Predictor, image: UInt8[np.ndarray, "H W 3"]) -> list[Proposal]:
    """Where a SEEM sees objects, whatever it takes them for.

    The certainty is the probability that the query has found any of the things of the predictor's
    vocabulary, times that of its mask.
    """
    predictor.set_image(predictor.encode(image))
    told = predictor.instances()
    certainty: defaultdict[int, float] = defaultdict(float)
    places: dict[int, Box] = {}
    for query, box, score in zip(
        told.queries.tolist(), _boxes(told.masks), told.scores.tolist(), strict=True
    ):
        if box is not None:
            places[query] = box
            certainty[query] += score
    return [(box, min(1.0, certainty[query])) for query, box in places.items()]


def open_detector(
    name: str,
    *,
    judge: Path,
    threshold: float | None = None,
    device: str = "auto",
    offline: bool = False,
) -> Detector:
    """Open a detector.

    Args:
        name: "judge", "seem", "seem:MODEL", or a detector of transformers by folder, hub id
            or URL.
        judge: The judge's folder.
        threshold: The score from which a detection counts; None: its own.
        device: "auto", "cpu", "cuda", ...
        offline: Never use the network.

    Raises:
        LavallamaError: it cannot be had, in one line.
    """
    given: dict[str, Any] = {} if threshold is None else {"threshold": threshold}
    kind, _, model = name.partition(":")
    if name == JUDGE:
        named = StickerJudge.from_pretrained(judge)
        predictor = open_predictor(STICKERS, device=device, offline=offline)

        def propose(image: np.ndarray) -> list[Proposal]:
            return object_proposals(predictor, image)

        return JudgeDetector(named, propose, **given)
    if kind == SEEM:
        predictor = open_predictor(model or STICKERS, device=device, offline=offline)
        return SegmenterDetector(predictor, name=name, **given)
    where = choose_device(device)
    if Path(name).is_dir():
        return load_detector(name, device=where, threshold=threshold)
    folder = fetch_files(name, choose_chat, offline=offline)
    return load_detector(str(folder), device=where, threshold=threshold, name=name)


def _boxes(masks: Tensor) -> list[Box | None]:
    """The normalised box around each mask, [N, H, W]; None around an empty one."""
    height, width = masks.shape[1:]
    there = masks.flatten(1).any(1).tolist()
    boxes = mask_boxes(masks).tolist()
    return [
        pixels_to_normalized((x0, y0, x1, y1), (width, height)) if some else None
        for some, (x0, y0, x1, y1) in zip(there, boxes, strict=True)
    ]
