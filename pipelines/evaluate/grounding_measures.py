"""What `lavallama evaluate grounding` counts on each picture, task by task.

Axes: H W the picture.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8

from gligen.evaluation.box_precision import BoxPrecision
from gligen.evaluation.detection import Detection, Detector, View, certain
from gligen.evaluation.extent import box_of_difference
from gligen.evaluation.frechet import FrechetDistance
from gligen.evaluation.instance_success import InstanceSuccess
from gligen.evaluation.layout import Instance, Layout, LayoutSet
from gligen.evaluation.recognition import Tally
from grounding.geometry import box_iou
from grounding.stickers.judge import StickerJudge

__all__ = [
    "ClaimTask",
    "ExtentTask",
    "FrechetTask",
    "InstanceTask",
    "JudgeTask",
    "PrecisionTask",
    "Seen",
    "Task",
]


@dataclass
class Seen:
    """A picture of a layout, and who looks at it.

    Attributes:
        layout: What was asked for.
        image: What was drawn, or the true picture.
        detector: None: no task needs one.
    """

    layout: Layout
    image: UInt8[np.ndarray, "H W 3"]
    detector: Detector | None

    @cached_property
    def view(self) -> View:
        """The detector's look at it."""
        return self.eyes.view(self.image)

    @property
    def eyes(self) -> Detector:
        """The detector."""
        assert self.detector is not None, "tasks that look for something come with a detector"
        return self.detector

    @property
    def known(self) -> tuple[Instance, ...]:
        """The instances that the detector can look for."""
        return tuple(each for each in self.layout.instances if self.eyes.knows(each.noun))

    @property
    def found(self) -> list[Detection]:
        """All objects that count, of what was asked for and of what is claimed."""
        claim = self.layout.claim
        nouns = [each.noun for each in self.layout.instances]
        nouns += claim.nouns if claim else ()
        return [
            found for noun in dict.fromkeys(nouns) for found in certain(self.view, self.eyes, noun)
        ]


class Task(Protocol):
    """One measurement over pictures."""

    def add(self, seen: Seen) -> None:
        """Count one picture."""
        ...

    def result(self) -> Mapping[str, Any]:
        """Return what was measured."""
        ...


class JudgeTask:
    """What the sticker judge names in the boxes, by groups of layouts and together."""

    def __init__(self, judge: StickerJudge) -> None:
        """Take the judge."""
        self.judge = judge
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)

    def add(self, seen: Seen) -> None:
        """Judge one picture."""
        self.tallies[seen.layout.group].add(seen.layout.instances, seen.image, self.judge)

    def result(self) -> dict[str, dict[str, float | int]]:
        """`Tally.rates` of each group and of "all"."""
        together = Tally()
        for tally in self.tallies.values():
            together = together.joined(tally)
        groups = {name.replace("-", "_").replace(" ", "_"): t for name, t in self.tallies.items()}
        return {name: tally.rates() for name, tally in {**groups, "all": together}.items()}


class ExtentTask:
    """How well what differs from a plain background fills the box: no detector is needed."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.overlaps: list[float] = []

    def add(self, seen: Seen) -> None:
        """Count one picture of one object."""
        box = box_of_difference(seen.image)
        [asked] = seen.layout.instances
        self.overlaps.append(0.0 if box is None else box_iou(box, asked.box))

    def result(self) -> dict[str, float | int]:
        """`box_iou`, a mean, and the number of `pictures`."""
        return {"box_iou": float(np.mean(self.overlaps)), "pictures": len(self.overlaps)}


class PrecisionTask:
    """AP of a detector against the boxes asked for."""

    def __init__(self, layouts: LayoutSet, detector: Detector) -> None:
        """Begin with nothing.

        Args:
            layouts: Whose classes.
            detector: Classes that it does not know are left out.
        """
        self.classes = [name for name in layouts.classes if detector.knows(name)]
        self.closed = layouts.closed
        self.precision = BoxPrecision(self.classes)

    def add(self, seen: Seen) -> None:
        """Count one picture."""
        asked = seen.known
        texts = self.classes if self.closed else list(dict.fromkeys(each.noun for each in asked))
        ignored = [each for each in seen.layout.ignored if seen.eyes.knows(each.noun)]
        found = seen.view.find(texts) if texts else []
        height, width = seen.image.shape[:2]
        self.precision.add(asked, found, (width, height), ignored=ignored)

    def result(self) -> dict[str, float | int]:
        """`BoxPrecision.result`."""
        return self.precision.result()


class InstanceTask:
    """COCO-MIG's scores."""

    def __init__(self, attributes: tuple[str, ...]) -> None:
        """Begin with nothing; `attributes` are those that instances may have."""
        self.success = InstanceSuccess(attributes)

    def add(self, seen: Seen) -> None:
        """Count one picture."""
        self.success.add(seen.known, seen.view, seen.eyes)

    def result(self) -> dict[str, dict[str, Any]]:
        """`InstanceSuccess.result`."""
        return self.success.result()


class ClaimTask:
    """Share of the pictures of which what is claimed is true."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.held: list[bool] = []

    def add(self, seen: Seen) -> None:
        """Count one picture, if the detector knows what is claimed."""
        claim = seen.layout.claim
        if claim is not None and all(map(seen.eyes.knows, claim.nouns)):
            self.held.append(claim.holds(seen.view, seen.eyes))

    def result(self) -> dict[str, float | int]:
        """`accuracy` and the number of `prompts`."""
        return {"accuracy": sum(self.held) / max(1, len(self.held)), "prompts": len(self.held)}


class FrechetTask:
    """FID of one generator's pictures; the true ones are counted with those of the first."""

    def __init__(self, distance: FrechetDistance, *, true: bool) -> None:
        """Take the network.

        Args:
            distance: Shared by all generators.
            true: Whether to count the true pictures too.
        """
        self.distance, self.true = distance, true

    def add(self, seen: Seen) -> None:
        """Count one picture."""
        if self.true and seen.layout.truth is not None:
            self.distance.add(seen.layout.truth(), real=True)
        self.distance.add(seen.image, real=False)

    def result(self) -> dict[str, float | int]:
        """`FrechetDistance.result`."""
        return self.distance.result()
