"""Looker: what a SEEM sees on a picture, against what the picture was to show.

Objects are found by name among all that the model knows (`Predictor.instances`); what they are made
of is told by which phrase fits best: "lava llama" or "ice llama". Boxes are normalised xyxy.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from gligen.evaluation.detection import MATCH, Detection, distinct
from grounding.geometry import Box, box_iou, pixels_to_normalized
from grounding.planning.agreement import agree, same_noun
from grounding.planning.caption import read_phrase
from grounding.planning.lexicon import ATTRIBUTES
from grounding.planning.relations import cover
from grounding.planning.scene_graph import SceneGraph, Thing
from grounding.prompt import Canvas, GroundedPrompt
from grounding.region import Region
from grounding.stickers.vocabulary import CONCEPTS
from seem.predictor import Predictor

__all__ = ["Looker", "Verdict"]

THRESHOLD = (
    0.3  # certainty from which something is an object; as `gligen.evaluation.judge_detector`
)
LEAST_PART = 0.2  # of the largest part's area: what is smaller is a stray patch
PART = 0.7  # share of a box within a more certain one from which it is a part of that
TOLD = ("material", "colour")  # kinds of attributes that can be seen
FINE = 0.1  # weight of how well things fit, beside how many are right


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is right about a picture.

    Attributes:
        found: What is on it: names, boxes, scores.
        wrong: Ids of the planned regions that are missing, misplaced or wrong.
        extra: How many things are there that should not be.
        findings: All of it in words.
        score: The share of planned regions that are right, less the extras, and a little for how
            well they fit.
    """

    found: GroundedPrompt
    wrong: tuple[str, ...]
    extra: int
    findings: tuple[str, ...]
    score: float

    @property
    def is_right(self) -> bool:
        """Whether nothing is to be repaired."""
        return not self.findings


class Looker:
    """Looks at pictures with a SEEM that knows words.

    Args:
        predictor: The SEEM.
        attributes: By kind, the words among which it chooses what things are like.
        threshold: Certainty from which something is an object.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        attributes: Mapping[str, Collection[str]] = ATTRIBUTES,
        threshold: float = THRESHOLD,
    ) -> None:
        self.predictor, self.attributes, self.threshold = predictor, attributes, threshold

    def __call__(
        self, image: UInt8[np.ndarray, "H W 3"], plan: GroundedPrompt, graph: SceneGraph
    ) -> Verdict:
        """Compare a picture with its plan.

        Args:
            image: What was drawn.
            plan: Where everything was to be.
            graph: What was asked for.
        """
        wanted = {region.id: read_phrase(region.phrase, CONCEPTS) for region in plan.regions}
        things = [thing for thing in wanted.values() if thing is not None]
        absent = [thing for one in graph.absent if (thing := read_phrase(one, CONCEPTS))]
        found = self._find(image, [*things, *absent])
        return judge(plan, found, graph)

    def _find(self, image: UInt8[np.ndarray, "H W 3"], things: list[Thing]) -> GroundedPrompt:
        """Name everything on a picture."""
        self.predictor.set_image(image)
        asked = {thing.noun for thing in things}
        found = self._objects(self._names(things))
        regions = [
            Region(phrase=one.text, box=one.box, score=min(1.0, one.score))
            for number, one in enumerate(found)
            if not any(_is_part(one, other, asked) for other in found[:number])
        ]
        height, width = image.shape[:2]
        return GroundedPrompt(canvas=Canvas(width=width, height=height), regions=tuple(regions))

    def _names(self, things: list[Thing]) -> list[str]:
        """What objects may be called: all that the model knows, what was asked for, and its like.

        "lava llama" is told from "ice llama", from "llama" and from "balloon".
        """
        vocabulary = self.predictor.vocabulary
        names = [] if vocabulary is None else list(vocabulary.things)
        for thing in things:
            names += [thing.noun, _seen_phrase(thing)]
            kinds = {kind for kind, _ in thing.attributes} & set(TOLD)
            words = [
                word for kind in TOLD if kind in kinds for word in self.attributes.get(kind, ())
            ]
            names += [f"{word} {thing.noun}" for word in words]
        return list(dict.fromkeys(names))

    def _objects(self, names: list[str]) -> list[Detection]:
        """Objects that are certain enough, each once, the most certain first."""
        told = self.predictor.instances(names)
        rows = zip(told.labels.tolist(), told.queries.tolist(), told.scores.tolist(), strict=True)
        named: dict[int, tuple[str, float]] = {}
        certainty: dict[int, float] = {}
        masks: dict[int, np.ndarray] = {}
        for (label, query, score), mask in zip(rows, told.masks.cpu().numpy(), strict=True):
            certainty[query] = certainty.get(query, 0.0) + score
            named.setdefault(query, (names[label], score))  # scores do not rise
            masks.setdefault(query, mask)
        places = {
            (box, certainty[query]): Detection(text=name, box=box, score=score)
            for query, (name, score) in named.items()
            if certainty[query] >= self.threshold
            for box in _parts(masks[query])
        }
        found = [Detection(text="", box=box, score=score) for box, score in places]
        return [places[one.box, one.score] for one in distinct(found)]


def judge(plan: GroundedPrompt, found: GroundedPrompt, graph: SceneGraph) -> Verdict:
    """Compare what was found with where it was to be, and with what was asked for.

    Args:
        plan: Regions with phrases and boxes.
        found: As `Looker` finds it.
        graph: What was asked for.
    """
    seen = {region.id: read_phrase(region.phrase, CONCEPTS) for region in found.regions}
    left = {region.id: region for region in found.regions}
    wrong, findings, fit = [], [], 0.0
    for region in plan.regions:
        wanted = read_phrase(region.phrase, CONCEPTS)
        match = _match(region, wanted, left, seen)
        if match is None:
            wrong.append(region.id)
            findings.append(f"missing: {region.id} {region.phrase}")
            continue
        other, overlap = match
        thing = seen[other.id]
        del left[other.id]
        lacking = _lacking(wanted, thing)
        fit += overlap * (other.score or 0.0) * (0.5 if lacking else 1.0)
        if overlap < MATCH:
            findings.append(f"misplaced: {region.id} {region.phrase}, IoU {overlap:.2f}")
        if lacking:
            findings.append(f"wrong: {region.id} {region.phrase} is {other.phrase}")
        if overlap < MATCH or lacking:
            wrong.append(region.id)
    findings += [f"extra: {region.phrase}" for region in left.values()]
    relations = agree(found, graph, names=CONCEPTS).findings
    findings += [one.message for one in relations if one.kind == "misplaced"]
    count = max(1, len(plan.regions))
    right = (count - len(wrong) - len(left)) / count
    return Verdict(
        found=found,
        wrong=tuple(wrong),
        extra=len(left),
        findings=tuple(findings),
        score=round(right + FINE * fit / count, 6),
    )


def _seen_phrase(thing: Thing) -> str:
    """What a thing is called, without what cannot be seen."""
    attributes = tuple(pair for pair in thing.attributes if pair[0] in TOLD)
    return Thing(noun=thing.noun, attributes=attributes).phrase


def _is_part(one: Detection, other: Detection, asked: Collection[str]) -> bool:
    """Whether something is but a part of a more certain object, taken for a thing of its own."""
    thing, whole = read_phrase(one.text, CONCEPTS), read_phrase(other.text, CONCEPTS)
    alike = thing is not None and whole is not None and thing.noun == whole.noun
    wanted = thing is not None and thing.noun in asked and not alike
    return not wanted and cover(one.box, other.box) > PART


def _match(
    region: Region,
    wanted: Thing | None,
    left: Mapping[str, Region],
    seen: Mapping[str, Thing | None],
) -> tuple[Region, float] | None:
    """What of its noun overlaps a planned region most, and by how much; None: there is none."""
    box = region.bounds()
    same = [
        (other, box_iou(box, other.box))
        for name, other in left.items()
        if (thing := seen[name]) is not None
        and wanted is not None
        and other.box is not None
        and box is not None
        and same_noun(thing.noun, wanted.noun)
    ]
    return max(same, key=lambda pair: pair[1], default=None)


def _lacking(wanted: Thing | None, thing: Thing | None) -> bool:
    """Whether an attribute that can be seen is another."""
    if wanted is None or thing is None:
        return False
    return any(pair not in thing.attributes for pair in wanted.attributes if pair[0] in TOLD)


def _parts(mask: Bool[np.ndarray, "H W"]) -> list[Box]:
    """Boxes of the parts of a mask that hang together: alike things may share a mask."""
    height, width = mask.shape
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    rows = stats[1:].tolist()  # the first is what is not in the mask
    largest = max((area for *_, area in rows), default=0)
    return [
        pixels_to_normalized((float(x), float(y), float(x + w), float(y + h)), (width, height))
        for x, y, w, h, area in rows
        if area >= LEAST_PART * largest
    ]
