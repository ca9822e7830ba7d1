"""What is known about an image or a clip, and what may be asked about it.

Axes: H W the image.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8

from grounding.drops import Drops
from grounding.errors import PromptError
from seem.evaluation.panoptic_quality import MapSegment

__all__ = ["Clip", "Phrase", "ReferenceCase", "Sample", "Search", "Source", "Truth"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """One segment of the truth.

    Attributes:
        mask: What is visible of it.
        label: Index of its class; None: of none that is measured.
        thing: Whether it is one object, or all of some stuff.
        crowd: Whether it stands for many objects that nobody told apart.
        group: Under which it is reported when it is clicked on and the like; "" leaves it out.
    """

    mask: Bool[np.ndarray, "H W"]
    label: int | None
    thing: bool = True
    crowd: bool = False
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """Words for one mask.

    Attributes:
        text: The words.
        targets: Indices of the truths whose union is the answer.
        kind: Under which it is reported.
    """

    text: str
    targets: tuple[int, ...]
    kind: str


@dataclass(frozen=True, kw_only=True)
class Search:
    """Words for any number of masks.

    Attributes:
        text: The words.
        targets: Indices of all truths that they describe; there may be none.
        kind: Under which it is reported.
    """

    text: str
    targets: tuple[int, ...]
    kind: str


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceCase:
    """Another image that shows what to look for.

    Attributes:
        image: RGB.
        mask: Where it is there.
        target: Index of the truth on the sample's own image.
    """

    image: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]
    target: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One image.

    Attributes:
        name: Unique in its source; file names and generators come from it.
        image: RGB.
        truths: What is on it; segments of one map do not overlap.
        complete: Whether the truths are a panoptic map: what they leave is void.
        phrases: To be found one by one.
        searches: To be found with all their instances.
        references: To be found by example.
    """

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    truths: tuple[Truth, ...]
    complete: bool = False
    phrases: tuple[Phrase, ...] = ()
    searches: tuple[Search, ...] = ()
    references: tuple[ReferenceCase, ...] = ()

    def map(self) -> tuple[Int[np.ndarray, "H W"], list[MapSegment]]:
        """The truths as a map of ids, with those that have a class; the rest is void."""
        ids = np.zeros(self.image.shape[:2], np.int32)
        segments = []
        for number, truth in enumerate(self.truths, 1):
            if truth.label is not None:
                ids[truth.mask] = number
                segments.append(MapSegment(id=number, label=truth.label, crowd=truth.crowd))
        return ids, segments

    def union(self, targets: Sequence[int]) -> Bool[np.ndarray, "H W"]:
        """All that some truths cover."""
        covered = np.zeros(self.image.shape[:2], bool)
        for target in targets:
            covered |= self.truths[target].mask
        return covered


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """A short film of objects that keep their ids.

    Attributes:
        name: Unique in its source.
        frames: RGB images, in order.
        ids: For each frame a map of ids, 0 is background and 255 void; None: not annotated.
    """

    name: str
    frames: Sequence[UInt8[np.ndarray, "H W 3"]]
    ids: Sequence[Int[np.ndarray, "H W"] | None]

    @property
    def objects(self) -> list[int]:
        """The ids of the first frame."""
        first = self.ids[0]
        return [] if first is None else [i for i in np.unique(first).tolist() if 0 < i < VOID_ID]


VOID_ID = 255


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """Where samples come from.

    Attributes:
        what: In a few words, for the report.
        classes: Names, by index.
        things: Those that can be counted.
        tasks: What can be measured with it, by name.
        usual: What is measured unless something else is asked for.
        count: Of samples.
        samples: Yields them one after another; each call from the start.
        clip_count: Of clips.
        clips: Yields the clips, if there are any.
        left_out: What is not measured and why: counted while the samples are read.
        drops: What of the data makes no sense, or was changed; likewise.
        facts: What else describes the data, for the report.
    """

    what: str
    classes: tuple[str, ...] = ()
    things: frozenset[str] = frozenset()
    tasks: tuple[str, ...]
    usual: tuple[str, ...]
    count: int = 0
    samples: Callable[[], Iterator[Sample]] = lambda: iter(())
    clip_count: int = 0
    clips: Callable[[], Iterator[Clip]] = lambda: iter(())
    left_out: dict[str, int] = field(default_factory=dict)
    drops: Drops = field(default_factory=Drops)
    facts: dict[str, Any] = field(default_factory=dict)

    def with_classes(self, names: Sequence[str]) -> "Source":
        """The same source with some of its classes: segments of the others become void.

        Raises:
            PromptError: one of them is none of its classes, or appears twice.
        """
        unknown = [name for name in names if name not in self.classes]
        if unknown or len(set(names)) < len(names):
            raise PromptError(
                f"classes must be different ones of the data's: {', '.join(self.classes):.300}; "
                f"got {', '.join(unknown or names):.100}"
            )
        index = {self.classes.index(name): new for new, name in enumerate(names)}

        def samples() -> Iterator[Sample]:
            for sample in self.samples():
                truths = [
                    replace(truth, label=None if truth.label is None else index.get(truth.label))
                    for truth in sample.truths
                ]
                yield replace(sample, truths=tuple(truths))

        things = self.things & set(names)
        return replace(self, classes=tuple(names), things=things, samples=samples)
