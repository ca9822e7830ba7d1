"""Does a document show what was asked for? What is missing, too much, wrong or misplaced.

Regions are told apart by id; those with several possible meanings are given the one that fits
best: three llamas are three regions, whichever is which.
"""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from grounding.planning.caption import read_phrase
from grounding.planning.lexicon import singular
from grounding.planning.relations import ANY, holds
from grounding.planning.scene_graph import Bond, SceneGraph, Slot, Thing
from grounding.prompt import GroundedPrompt
from grounding.region import Region

__all__ = ["Agreement", "Finding", "agree", "same_noun"]

MOST_TRIED = 120  # orders in which alike regions are tried as the instances of a thing

Kind = Literal["missing", "extra", "misplaced", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One way in which a document is not what was asked for.

    Attributes:
        kind: "missing": a thing that is not there; "extra": a region that nobody asked for, or
            that was to be absent; "misplaced": a relation that fails; "wrong": an attribute.
        ids: The regions it is about; none of what is missing.
        message: In words.
        thing: Index of the thing in the request; None: none.
        bond: Index of the relation that fails; None: none does.
    """

    kind: Kind
    ids: tuple[str, ...]
    message: str
    thing: int | None = None
    bond: int | None = None


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What a document has of a request, and what not.

    Attributes:
        findings: Empty: it is as asked.
        places: Which region stands for which slot.
    """

    findings: tuple[Finding, ...]
    places: dict[Slot, Region]

    @property
    def is_right(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def agree(
    document: GroundedPrompt,
    graph: SceneGraph,
    *,
    names: Collection[str] = (),
    threshold: float = 0.0,
    alone: bool = True,
) -> Agreement:
    """Compare a document, planned or found, with what was asked for.

    Args:
        document: Regions with phrases; with scores, if they were found.
        graph: Of `grounding.planning.caption.read_caption`.
        names: As for `read_caption`.
        threshold: Regions of a lower score are not there; those without a score are.
        alone: Whether things that were not mentioned are too much.
    """
    regions = [
        region
        for region in document.regions
        if region.phrase.strip() and (region.score is None or region.score >= threshold)
    ]
    read = {region.id: read_phrase(region.phrase, names) for region in regions}
    things = {region.id: _with_attributes(read[region.id], region) for region in regions}
    places = _assigned(graph, regions, things)
    places = _arranged(graph, places)
    taken = {region.id for region in places.values()}
    left = [region for region in regions if region.id not in taken]
    findings = [
        *_missing(graph, places),
        *_wrong(graph, places, things),
        *_extra(graph, left, things, alone=alone),
        *_misplaced(graph, places),
    ]
    return Agreement(findings=tuple(findings), places=places)


def same_noun(a: str, b: str) -> bool:
    """Whether two nouns are one, in whatever number."""
    return (singular(a) or a) == (singular(b) or b)


def _with_attributes(thing: Thing | None, region: Region) -> Thing | None:
    """What a region says it is, by its phrase and its attributes."""
    if thing is None:
        return None
    said = {kind: word for kind, word in region.attributes.items() if isinstance(word, str)}
    own = dict(thing.attributes)
    more = tuple((kind, word) for kind, word in said.items() if kind not in own and word)
    return Thing(noun=thing.noun, attributes=(*thing.attributes, *more))


def _fits(thing: Thing, seen: Thing | None) -> bool:
    """Whether what is seen has the noun that is asked for."""
    return seen is not None and same_noun(thing.noun, seen.noun)


def _lacking(thing: Thing, seen: Thing) -> list[tuple[str, str]]:
    return [pair for pair in thing.attributes if pair not in seen.attributes]


def _assigned(
    graph: SceneGraph, regions: Sequence[Region], things: dict[str, Thing | None]
) -> dict[Slot, Region]:
    """Give each slot a region of its noun: those with the right attributes first."""
    order = sorted(regions, key=lambda region: -(1.0 if region.score is None else region.score))
    places: dict[Slot, Region] = {}
    taken: set[str] = set()
    pairs = [
        (len(_lacking(thing, seen)), len(_lacking(seen, thing)), place, number)
        for number, thing in enumerate(graph.things[slot.thing] for slot in graph.slots())
        for place, region in enumerate(order)
        if (seen := things[region.id]) is not None and _fits(thing, seen)
    ]
    slots = list(graph.slots())
    for _, _, place, number in sorted(pairs):
        if slots[number] not in places and order[place].id not in taken:
            places[slots[number]] = order[place]
            taken.add(order[place].id)
    return places


def _arranged(graph: SceneGraph, places: dict[Slot, Region]) -> dict[Slot, Region]:
    """Exchange alike regions until the fewest relations fail."""
    if not graph.bonds:
        return places
    groups: dict[str, list[Slot]] = {}
    for slot in places:
        groups.setdefault(graph.things[slot.thing].phrase, []).append(slot)
    for slots in groups.values():
        if len({slot.thing for slot in slots}) < 2:
            continue  # instances of one thing all stand in the same relations
        regions = [places[slot] for slot in slots]
        tried = itertools.islice(itertools.permutations(regions), MOST_TRIED)
        orders = [places | dict(zip(slots, order, strict=True)) for order in tried]
        places = min(orders, key=lambda order: len(list(_misplaced(graph, order))))
    return places


def _missing(graph: SceneGraph, places: dict[Slot, Region]) -> list[Finding]:
    found = []
    for index, thing in enumerate(graph.things):
        lost = sum(slot.thing == index and slot not in places for slot in graph.slots())
        if lost:
            there = thing.count - lost
            message = f"{thing.number}: {there} there" if there else f"{thing.number}: not there"
            found += [Finding(kind="missing", ids=(), message=message, thing=index)] * lost
    return found


def _wrong(
    graph: SceneGraph, places: dict[Slot, Region], things: dict[str, Thing | None]
) -> list[Finding]:
    found = []
    for slot, region in places.items():
        thing, seen = graph.things[slot.thing], things[region.id]
        for kind, word in _lacking(thing, seen) if seen else ():
            told = ", ".join(w for k, w in seen.attributes if k == kind) if seen else ""
            instead = f"{told}, not {word}" if told else f"not {word}"
            message = f"{region.id}: {thing.phrase}, {kind} is {instead}"
            found.append(Finding(kind="wrong", ids=(region.id,), message=message, thing=slot.thing))
    return found


def _extra(
    graph: SceneGraph,
    left: Sequence[Region],
    things: dict[str, Thing | None],
    *,
    alone: bool,
) -> list[Finding]:
    absent = [read for phrase in graph.absent if (read := read_phrase(phrase)) is not None]
    found = []
    for region in left:
        seen = things[region.id]
        if any(_fits(one, seen) and seen and not _lacking(one, seen) for one in absent):
            said = "was to be absent"
        elif any(_fits(thing, seen) and thing.exact for thing in graph.things):
            said = "one too many"
        elif any(_fits(thing, seen) for thing in graph.things):
            continue  # at least two llamas: a third is welcome
        elif alone:
            said = "was not asked for"
        else:
            continue
        message = f"{region.id}: {region.phrase} {said}"
        found.append(Finding(kind="extra", ids=(region.id,), message=message))
    return found


def _misplaced(graph: SceneGraph, places: dict[Slot, Region]) -> list[Finding]:
    return [
        Finding(
            kind="misplaced",
            ids=tuple(region.id for region in regions),
            message=_not_so(bond.predicate, regions),
            thing=bond.subject,
            bond=number,
        )
        for number, bond in enumerate(graph.bonds)
        for subject in _instances(graph, bond.subject, places)
        for regions in _failing(bond, subject, _others(graph, bond, places))
    ]


def _failing(
    bond: Bond, subject: Region, others: Sequence[tuple[Region, ...]]
) -> list[tuple[Region, ...]]:
    """The subject, and each group of others to which it does not stand as it should."""
    groups = [(subject, *group) for group in others if subject not in group]
    failing = []
    for regions in groups:
        boxes = [box for region in regions if (box := region.bounds()) is not None]
        if len(boxes) < len(regions) or holds(bond.predicate, boxes[0], boxes[1:]):
            continue
        failing.append(regions)
    if bond.predicate in ANY:
        return failing[:1] if len(failing) == len(groups) else []
    return failing


def _instances(graph: SceneGraph, thing: int, places: dict[Slot, Region]) -> list[Region]:
    return [places[slot] for slot in graph.slots() if slot.thing == thing and slot in places]


def _others(graph: SceneGraph, bond: Bond, places: dict[Slot, Region]) -> list[tuple[Region, ...]]:
    """The groups that a relation is about, besides its subject."""
    groups = [_instances(graph, other, places) for other in bond.others]
    if len(set(bond.others)) < len(bond.others):  # between two of one kind
        return [tuple(groups[0][:2])] if len(groups[0]) > 1 else []
    return [group for group in itertools.product(*groups) if len(set(map(id, group))) == len(group)]


def _not_so(predicate: str, regions: Sequence[Region]) -> str:
    subject, *others = (f"{region.id} {region.phrase}" for region in regions)
    return f"not so: {subject} {predicate} {' and '.join(others)}".rstrip()
