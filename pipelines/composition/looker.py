"""Looker: what a SEEM sees on a picture, against what the picture was to show.

Objects are found by name among all that the model knows (`Predictor.instances`); what they are made
of is told by which phrase fits best: "lava llama" or "ice llama". Boxes are normalised xyxy.
"""

import functools
from collections.abc import Collection, Mapping

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from gligen.evaluation.detection import MATCH, Detection, distinct
from grounding.geometry import Box, box_iou, box_union, pixels_to_normalized
from grounding.planning.agreement import agree, same_noun
from grounding.planning.caption import read_phrase
from grounding.planning.lexicon import ATTRIBUTES
from grounding.planning.relations import cover
from grounding.planning.scene_graph import SceneGraph, Thing
from grounding.prompt import Canvas, GroundedPrompt
from grounding.region import Region
from grounding.stickers.vocabulary import CONCEPTS
from pipelines.composition.verdict import Finding, Verdict
from seem.predictor import Predictor

__all__ = ["TOLD", "Looker", "judge", "seen_phrase"]

THRESHOLD = 0.3  # certainty from which something is an object; as of the judge's detector
LEAST_PART = 0.2  # of the largest part's area: what is smaller is a stray patch
PART = 0.7  # share of a box within a more certain one from which it is a part of that
WITHIN = 0.5  # the same, for what is within a thing that was asked for and is there
CERTAIN = 0.56  # score from which a thing that is searched by its name is there
EXTRA = 0.3  # probability of the name from which something that nobody asked for is there
TOLD = ("material", "colour")  # kinds of attributes that can be seen
FINE = 0.1  # weight of how well things fit, beside how many are right


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
        return judge(plan, self._searched(found, plan, wanted), graph)

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

    def _searched(
        self, found: GroundedPrompt, plan: GroundedPrompt, wanted: Mapping[str, Thing | None]
    ) -> GroundedPrompt:
        """Search by their names alone for plain things that were not found among all names."""
        regions = list(found.regions)
        for region in plan.regions:
            thing, box = wanted[region.id], region.bounds()
            if thing is None or box is None or any(kind in TOLD for kind, _ in thing.attributes):
                continue
            if any(_shows(one, thing) and _overlaps(one, box) for one in regions):
                continue
            [told] = self.predictor.find([thing.noun], threshold=CERTAIN)
            places = [
                Region(phrase=thing.noun, box=part, score=min(1.0, score))
                for mask, score in zip(told.masks.cpu().numpy(), told.scores.tolist(), strict=True)
                for part in _parts(mask)
                if box_iou(part, box) >= MATCH
            ]
            if places:
                regions = [one for one in regions if not _is_within(one, places[0])]
                regions.append(places[0])
        return found.replace(regions=tuple(one.replace(id="") for one in regions))

    def _names(self, things: list[Thing]) -> list[str]:
        """What objects may be called: all that the model knows, what was asked for, and its like.

        "lava llama" is told from "ice llama", from "llama" and from "balloon".
        """
        vocabulary = self.predictor.vocabulary
        names = [] if vocabulary is None else list(vocabulary.things)
        for thing in things:
            names += [thing.noun, seen_phrase(thing)]
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

    The score is the share of planned regions that are right, less the extras, and a little for how
    well they fit.

    Args:
        plan: Regions with phrases and boxes.
        found: As `Looker` finds it.
        graph: What was asked for.
    """
    seen = {region.id: read_phrase(region.phrase, CONCEPTS) for region in found.regions}
    left = {region.id: region for region in found.regions}
    findings: list[Finding] = []
    matched, covered, wrong, fit = [], [], set[str](), 0.0
    for region, other, overlap in _matches(plan, left, seen):
        if other is None:
            wrong.add(region.id)
            told = f"missing: {region.id} {region.phrase}"
            findings.append(Finding("missing", region.id, told))
            continue
        matched.append(region.replace(box=other.box))
        covered.append(_around(region, other))
        lacking = _lacking(read_phrase(region.phrase, CONCEPTS), seen[other.id])
        fit += overlap * (other.score or 0.0) * (0.5 if lacking else 1.0)
        if overlap < MATCH:
            told = f"misplaced: {region.id} {region.phrase}, IoU {overlap:.2f}"
            findings.append(Finding("misplaced", region.id, told))
        if lacking:
            told = f"wrong: {region.id} {region.phrase} is {other.phrase}"
            findings.append(Finding("wrong", region.id, told))
        if overlap < MATCH or lacking:
            wrong.add(region.id)
    welcome = [thing for thing in graph.things if not thing.exact]  # of "llamas" more may come
    extra = [
        one
        for one in left.values()
        if _is_extra(one, covered) and not any(_shows(one, thing) for thing in welcome)
    ]
    findings += [Finding("extra", region.id, f"extra: {region.phrase}") for region in extra]
    relations = agree(GroundedPrompt(regions=tuple(matched)), graph, names=CONCEPTS).findings
    findings += [Finding("relation", "", r.message) for r in relations if r.kind == "misplaced"]
    count = max(1, len(plan.regions))
    right = (count - len(wrong) - len(extra)) / count
    return Verdict(
        found=found,
        findings=tuple(findings),
        score=round(right + FINE * fit / count, 6),
    )


def _matches(
    plan: GroundedPrompt, left: dict[str, Region], seen: Mapping[str, Thing | None]
) -> list[tuple[Region, Region | None, float]]:
    """What of its noun stands for each planned region, and their IoU: the best pairs first.

    Args:
        plan: Where everything was to be.
        left: What was found, by id; what is taken is taken out.
        seen: What each of it is.
    """
    pairs = []
    for number, region in enumerate(plan.regions):
        wanted, box = read_phrase(region.phrase, CONCEPTS), region.bounds()
        for other in left.values():
            if wanted is None or box is None or other.box is None:
                continue
            thing = seen[other.id]
            if thing is not None and same_noun(thing.noun, wanted.noun):
                pairs.append((box_iou(box, other.box), -number, other.id))
    chosen: dict[int, tuple[Region | None, float]] = {}
    for overlap, number, name in sorted(pairs, reverse=True):
        if -number not in chosen and name in left:
            chosen[-number] = left.pop(name), overlap
    matches = []
    for number, region in enumerate(plan.regions):
        other, overlap = chosen.get(number, (None, 0.0))
        matches.append((region, other, overlap))
    return matches


def seen_phrase(thing: Thing) -> str:
    """What a thing is called, without what cannot be seen."""
    attributes = tuple(pair for pair in thing.attributes if pair[0] in TOLD)
    return Thing(noun=thing.noun, attributes=attributes).phrase


def _is_part(one: Detection, other: Detection, asked: Collection[str]) -> bool:
    """Whether something is but a part of a more certain object, taken for a thing of its own."""
    if one.text == other.text:  # the parts of a mask: `judge` chooses
        return False
    thing, whole = read_phrase(one.text, CONCEPTS), read_phrase(other.text, CONCEPTS)
    alike = thing is not None and whole is not None and thing.noun == whole.noun
    wanted = thing is not None and thing.noun in asked and not alike
    return not wanted and cover(one.box, other.box) > PART


def _around(region: Region, other: Region) -> Region:
    """Where a thing was to be and where it is."""
    assert region.box is not None, "only regions with boxes are matched"
    assert other.box is not None, "only regions with boxes are matched"
    return region.replace(box=box_union(region.box, other.box))


def _is_extra(region: Region, covered: list[Region]) -> bool:
    """Whether something is certain enough to be there, and no part of what was asked for."""
    certain = region.score is None or region.score >= EXTRA
    return certain and not any(_is_within(region, whole) for whole in covered)


def _is_within(region: Region, whole: Region) -> bool:
    """Whether one of two boxes lies mostly in the other."""
    if region.box is None or whole.box is None:
        return False
    return cover(region.box, whole.box) > WITHIN


def _shows(region: Region, thing: Thing) -> bool:
    seen = read_phrase(region.phrase, CONCEPTS)
    return seen is not None and same_noun(seen.noun, thing.noun)


def _overlaps(region: Region, box: Box) -> bool:
    return region.box is not None and box_iou(region.box, box) >= MATCH


def _lacking(wanted: Thing | None, thing: Thing | None) -> bool:
    """Whether an attribute that can be seen is another."""
    if wanted is None or thing is None:
        return False
    return any(pair not in thing.attributes for pair in wanted.attributes if pair[0] in TOLD)


def _parts(mask: Bool[np.ndarray, "H W"]) -> list[Box]:
    """The box of a mask, and those of its parts: alike things may share a mask.

    It is not known which is meant: cherries are one thing in two parts, two owls are two. What
    fits what was asked for is taken, and the rest is within that.
    """
    height, width = mask.shape
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    rows = stats[1:].tolist()  # the first is what is not in the mask
    largest = max((area for *_, area in rows), default=0)
    parts = [
        pixels_to_normalized((float(x), float(y), float(x + w), float(y + h)), (width, height))
        for x, y, w, h, area in rows
        if area >= LEAST_PART * largest
    ]
    whole = [functools.reduce(box_union, parts)] if parts else []
    return list(dict.fromkeys([*whole, *parts]))
