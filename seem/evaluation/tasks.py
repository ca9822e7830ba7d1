"""What is asked about each image, through the classes that users ask with, and how it is scored.

Axes: H W the image. Every task takes samples one after another, with the image set in the
predictor, and says at the end what it measured. Means are over objects, not over images.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool

from seem.clicks import ROUNDS, Clicks, iou, noc, simulate
from seem.evaluation.marks import around, mark_generator, rough, scribble
from seem.evaluation.mask_precision import MaskPrecision
from seem.evaluation.panoptic_quality import MapSegment, PanopticQuality
from seem.evaluation.phrase_scores import PhraseScores, SearchScores
from seem.evaluation.sample import Sample, Truth
from seem.evaluation.semantic_iou import SemanticIou
from seem.predictor import Predictor
from seem.session import Session

__all__ = [
    "ClickTask",
    "Clicked",
    "MarkTask",
    "PanopticTask",
    "PhraseTask",
    "ReferenceTask",
    "Task",
    "objects",
]

ALL = "all"
TOLD_ROUNDS = (1, 2, 3, 5, 10, 20)


class Task(Protocol):
    """Something that is asked about every sample."""

    def add(self, predictor: Predictor, sample: Sample) -> None:
        """Ask about a sample, whose image is set."""
        ...

    def result(self) -> dict[str, Any]:
        """What was measured up to now."""
        ...


def objects(sample: Sample) -> list[tuple[int, Truth]]:
    """The truths that are clicked on, boxed in and so on, with their indices."""
    return [
        (index, truth)
        for index, truth in enumerate(sample.truths)
        if truth.group and truth.mask.any()
    ]


@dataclass(kw_only=True, eq=False)
class Clicked:
    """How clicking on one object went.

    Attributes:
        reached: IoU after each click that was made.
        clicks: All of them.
        masks: The answers after 1 and 5 clicks, or the last before, if they were asked to be kept.
    """

    reached: list[float]
    clicks: Clicks
    masks: dict[int, Bool[np.ndarray, "H W"]] = field(default_factory=dict)


class ClickTask:
    """Clicks that correct each other, at most 20, until the IoU is 0.925 (`seem.clicks`)."""

    KEPT = (1, 5)

    def __init__(self, rounds: int = ROUNDS) -> None:
        """Begin with nothing.

        Args:
            rounds: Clicks at most on one object.
        """
        self.rounds = rounds
        self._reached: defaultdict[str, list[list[float]]] = defaultdict(list)

    def add(self, predictor: Predictor, sample: Sample) -> None:
        """Click on all objects of a sample."""
        for _, truth in objects(sample):
            self._reached[truth.group].append(self.click(predictor, truth.mask).reached)

    def click(self, predictor: Predictor, truth: Bool[np.ndarray, "H W"]) -> Clicked:
        """Click on one object, in a session of its own."""
        session = Session(predictor)
        clicked = Clicked(reached=[], clicks=Clicks(positive=truth, negative=~truth))
        answer = np.zeros_like(truth)

        def predict(clicks: Clicks) -> np.ndarray:
            nonlocal answer
            if len(clicks.places) > len(session):  # else every mistake is clicked already
                y, x, label = clicks.places[-1]
                answer = session.click(x, y, label).masks[0].cpu().numpy()
            clicked.clicks = clicks
            for kept in self.KEPT:
                if len(session) <= kept:
                    clicked.masks[kept] = answer
            return answer

        clicked.reached = simulate(predict, truth, rounds=self.rounds)
        return clicked

    def result(self) -> dict[str, Any]:
        """By group and over all: NoC, how many objects missed it, and mIoU after some clicks.

        `iou` after n clicks counts an object that needed fewer with its last IoU.
        """
        return {name: self._summary(rows) for name, rows in _with_all(self._reached).items()}

    def _summary(self, rows: list[list[float]]) -> dict[str, Any]:
        told: dict[str, Any] = {"objects": len(rows)}
        for percent in (85, 90):
            counts = [noc(row, percent / 100, rounds=self.rounds) for row in rows]
            told[f"noc{percent}"] = float(np.mean(counts))
            told[f"missed{percent}"] = sum(max(row) < percent / 100 for row in rows)
        told["iou"] = {
            str(count): float(np.mean([row[min(count, len(row)) - 1] for row in rows]))
            for count in TOLD_ROUNDS
            if count <= self.rounds
        }
        return told


class MarkTask:
    """One mark on each object, and no correction."""

    def __init__(self, kind: str) -> None:
        """Begin with nothing.

        Args:
            kind: "box", "scribble" or "mask" (a rough one), of `seem.evaluation.marks`.
        """
        self.kind = kind
        self._ious: defaultdict[str, list[float]] = defaultdict(list)
        self._prompts: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, predictor: Predictor, sample: Sample) -> None:
        """Mark all objects of a sample."""
        for index, truth in objects(sample):
            drawn, shape = self._mark(sample, index, truth.mask)
            answer = predictor.predict(**drawn).masks[0].cpu().numpy()
            self._ious[truth.group].append(iou(truth.mask, answer))
            if shape is not None:
                self._prompts[truth.group].append(iou(truth.mask, shape))

    def _mark(
        self, sample: Sample, index: int, mask: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        """What is drawn, and the area that it would be if it were taken for the answer."""
        if self.kind == "scribble":
            return {"strokes": [scribble(mask, mark_generator(sample.name, index))]}, None
        if self.kind == "mask":
            shape = rough(mask)
            return {"mask": shape}, shape
        x0, y0, x1, y1 = around(mask)
        shape = np.zeros_like(mask)
        shape[y0:y1, x0:x1] = True
        return {"box": (x0, y0, x1, y1)}, shape

    def result(self) -> dict[str, Any]:
        """By group and over all: mean `iou`, and that of the `prompt` taken for the answer."""
        prompts = _with_all(self._prompts)
        return {
            name: {"objects": len(values), "iou": float(np.mean(values))}
            | ({"prompt": float(np.mean(prompts[name]))} if name in prompts else {})
            for name, values in _with_all(self._ious).items()
        }


class ReferenceTask:
    """Objects that another image shows; it is encoded for each."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._ious: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, predictor: Predictor, sample: Sample) -> None:
        """Look for all that the sample has references for."""
        for case in sample.references:
            truth = sample.truths[case.target]
            if not truth.mask.any():
                continue
            exemplar = predictor.exemplar(case.image, mask=case.mask)
            answer = predictor.predict(reference=exemplar).masks[0].cpu().numpy()
            self._ious[truth.group or ALL].append(iou(truth.mask, answer))

    def result(self) -> dict[str, Any]:
        """By group and over all: mean `iou`, and the share of objects with 0.5 or more."""
        return {
            name: {
                "objects": len(values),
                "iou": float(np.mean(values)),
                "ap50": float(np.mean(np.asarray(values) >= 0.5)),
            }
            for name, values in _with_all(self._ious).items()
        }


class PhraseTask:
    """Words: one mask for each phrase, and all instances of each text."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._phrases: defaultdict[str, PhraseScores] = defaultdict(PhraseScores)
        self._searches: defaultdict[str, SearchScores] = defaultdict(SearchScores)
        self._unknown: set[str] = set()

    def add(self, predictor: Predictor, sample: Sample) -> None:
        """Ask for all phrases and texts of a sample."""
        for phrase in sample.phrases:
            truth = sample.union(phrase.targets)
            if not truth.any():  # hidden: nobody could find it
                continue
            answer = np.zeros_like(truth)
            if self._knows(predictor, phrase.text):
                answer = predictor.predict(text=phrase.text).masks[0].cpu().numpy()
            for kind in (phrase.kind, ALL):
                self._phrases[kind].add(truth, answer)
        for search in sample.searches:
            found = ()
            if self._knows(predictor, search.text):
                found = predictor.find([search.text])[0].masks.cpu().numpy()
            truths = [sample.truths[target].mask for target in search.targets]
            truths = [mask for mask in truths if mask.any()]
            for kind in (search.kind, ALL):
                self._searches[kind].add(truths, list(found))

    def _knows(self, predictor: Predictor, text: str) -> bool:
        """Whether the model knows a text; of one that it does not, nothing is found."""
        known = predictor.knows(text)
        if not known:
            self._unknown.add(text)
        return known

    def result(self) -> dict[str, Any]:
        """`phrases` and `searches`, by kind and over all; `unknown` texts found nothing."""
        told: dict[str, Any] = {
            name: {
                kind: scores[kind].result() for kind in sorted(scores, key=lambda kind: kind == ALL)
            }
            for name, scores in (("phrases", self._phrases), ("searches", self._searches))
        }
        return told | ({"unknown": sorted(self._unknown)} if self._unknown else {})


class PanopticTask:
    """Panoptic maps, objects and semantic maps of named classes."""

    def __init__(self, classes: Sequence[str], things: frozenset[str]) -> None:
        """Begin with nothing.

        Args:
            classes: Their names, by index.
            things: Those that can be counted.
        """
        self.classes, self.things = tuple(classes), things
        numbers = {index for index, name in enumerate(self.classes) if name in things}
        self._quality = PanopticQuality(numbers)
        self._semantic = SemanticIou(len(self.classes))
        self._precision = MaskPrecision(len(self.classes))
        self._images = self._maps = self._unknown = 0

    def add(self, predictor: Predictor, sample: Sample) -> None:
        """Share an image out; if its truth is no map, find its objects alone."""
        things = [
            truth
            for truth in sample.truths
            if truth.thing and truth.label is not None and truth.mask.any()
        ]
        self._images += 1
        asked = predictor.askable(self.classes)
        names = [self.classes[index] for index in asked]
        countable = [name for name in names if name in self.things]
        self._unknown = len(self.classes) - len(asked)
        if self.things:
            found_things = predictor.instances(names, things=countable)
            self._precision.add(
                [truth.mask for truth in things],
                [truth.label for truth in things if truth.label is not None],
                [truth.crowd for truth in things],
                replace(
                    found_things, labels=torch.tensor(asked, dtype=torch.long)[found_things.labels]
                ),
            )
        if not sample.complete:
            return
        self._maps += 1
        ids, segments = sample.map()
        found = predictor.panoptic(names, things=countable)
        parts = [MapSegment(id=part.id, label=asked[part.label]) for part in found.segments]
        self._quality.add(ids, segments, found.map.cpu().numpy(), parts)
        labels = np.full(ids.shape, -1, np.int32)
        for segment in segments:
            labels[ids == segment.id] = segment.label
        if not self._unknown:  # a pixel has to be something
            self._semantic.add(labels, predictor.semantic(names).cpu().numpy())

    def result(self) -> dict[str, Any]:
        """`pq` (all, things, stuff), `semantic`, `instances`; how many `images` and `maps`.

        Of `unknown` classes, which the model cannot be asked about, nothing is found; with any of
        those there is no `semantic`.
        """
        told: dict[str, Any] = {"images": self._images, "maps": self._maps}
        if self._maps:
            told["pq"] = self._quality.result()
            if not self._unknown:
                told["semantic"] = self._semantic.result()
        if self.things:
            told["instances"] = self._precision.result()
        if self._unknown:
            told["unknown"] = self._unknown
        return told


def _with_all(groups: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The groups, and all their rows together if there is more than one group."""
    if not groups:
        return {}
    together = {ALL: [row for rows in groups.values() for row in rows]}
    return together if len(groups) == 1 else dict(groups) | together
