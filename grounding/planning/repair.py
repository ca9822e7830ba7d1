"""Mending a layout: each step that a document needs to be what was asked for, and its record.

A language model's layout may have too many things or too few, boxes that leave the canvas, cover
each other or stand in the wrong relation. Every step is a rule, so the same layout is always
mended in the same way.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from grounding.errors import PromptError
from grounding.geometry import Box
from grounding.planning.agreement import Agreement, agree
from grounding.planning.arrangement import LEAST_SIDE, Shape, arrange, crowded
from grounding.planning.scene_graph import SceneGraph, Slot
from grounding.prompt import GroundedPrompt
from grounding.region import Region

__all__ = ["Mended", "laid_out", "mend"]

MOST_COVER = 0.4  # share of the smaller box that another may cover, in a layout that is given


@dataclass(frozen=True, kw_only=True)
class Mended:
    """A document that is as asked, and what was done to it.

    Attributes:
        document: One region for each thing that was asked for, in that order.
        repairs: In words, in the order in which they were made.
    """

    document: GroundedPrompt
    repairs: tuple[str, ...]


def laid_out(
    caption: str, graph: SceneGraph, *, seed: int = 0, shape: Shape = lambda noun: 1.0
) -> GroundedPrompt:
    """Lay a request out by rules alone (`grounding.planning.arrangement`).

    Raises:
        PromptError: there is no such layout.
    """
    return _document(caption, graph, arrange(graph, seed=seed, shape=shape))


def mend(
    document: GroundedPrompt,
    graph: SceneGraph,
    *,
    caption: str,
    shape: Shape = lambda noun: 1.0,
    names: Collection[str] = (),
) -> Mended:
    """Make a layout what was asked for, changing no more than it takes.

    Args:
        document: With boxes on the canvas.
        graph: What was asked for.
        caption: The same in words; becomes the prompt.
        shape: Width over height of a noun, for boxes that must be added.
        names: As for `grounding.planning.caption.read_caption`.

    Raises:
        PromptError: nothing can be done: the request contradicts itself or has no room.
    """
    kept, repairs = [], []
    for region in document.regions:
        problem = _unusable(region)
        if problem:
            repairs.append(f"dropped {region.id} {region.phrase}: {problem}")
        else:
            kept.append(region)
    document = document.replace(regions=tuple(kept), relations=(), messages=())
    found = agree(document, graph, names=names)
    repairs += _dropped(found, document)
    repairs += [
        f"renamed {finding.ids[0]} {graph.things[finding.thing].phrase}: {finding.message}"
        for finding in found.findings
        if finding.kind == "wrong" and finding.thing is not None
    ]
    given = {slot: box for slot, region in found.places.items() if (box := region.box) is not None}
    boxes = _corrected(graph, given, found, shape)
    for slot in graph.slots():
        phrase = graph.things[slot.thing].phrase
        if slot not in given:
            repairs.append(f"added {phrase} at {_said(boxes[slot])}: there was none")
        elif boxes[slot] != given[slot]:
            old = found.places[slot]
            repairs.append(
                f"moved {old.id} {phrase} from {_said(given[slot])} to {_said(boxes[slot])}: "
                + _reason(graph, given, found, slot, old)
            )
    return Mended(document=_document(caption, graph, boxes), repairs=tuple(repairs))


def _unusable(region: Region) -> str:
    if region.box is None:
        return "it has no box"
    if not region.phrase.strip():
        return "it has no phrase"
    x0, y0, x1, y1 = region.box
    return "its box is too small" if min(x1 - x0, y1 - y0) < 0.9 * LEAST_SIDE else ""


def _dropped(found: Agreement, document: GroundedPrompt) -> list[str]:
    """What is said of the regions that stand for nothing."""
    standing = {region.id for region in found.places.values()}
    told = {
        finding.ids[0]: finding.message for finding in found.findings if finding.kind == "extra"
    }
    return [
        f"dropped {told.get(region.id, f'{region.id}: {region.phrase} is one more than needed')}"
        for region in document.regions
        if region.id not in standing
    ]


def _corrected(
    graph: SceneGraph, given: Mapping[Slot, Box], found: Agreement, shape: Shape
) -> dict[Slot, Box]:
    """Boxes for all slots: the fewest moves first, then more, then a layout that is all new."""
    slots = {region.id: slot for slot, region in found.places.items()}
    misplaced = [finding for finding in found.findings if finding.kind == "misplaced"]
    close = crowded(graph, given, MOST_COVER)
    if not misplaced and not close and len(given) == len(list(graph.slots())):
        return dict(given)
    later = {max(pair, key=lambda slot: (slot.thing, slot.place)) for pair in close}
    subjects = later | {slots[finding.ids[0]] for finding in misplaced}
    involved = set(subjects).union(*close, *({slots[i] for i in one.ids} for one in misplaced))
    for moved in (subjects, involved, set(given)):
        fixed = {slot: box for slot, box in given.items() if slot not in moved}
        wished = {slot: given[slot] for slot in moved}
        try:
            return arrange(graph, shape=shape, fixed=fixed, wished=wished)
        except PromptError:
            continue
    return arrange(graph, shape=shape)


def _reason(
    graph: SceneGraph, given: Mapping[Slot, Box], found: Agreement, slot: Slot, old: Region
) -> str:
    """Why a box had to move."""
    for finding in found.findings:
        if finding.kind == "misplaced" and old.id in finding.ids:
            return finding.message
    if any(slot in pair for pair in crowded(graph, given, MOST_COVER)):
        return "it and another covered each other"
    return "the others needed room"


def _document(caption: str, graph: SceneGraph, boxes: Mapping[Slot, Box]) -> GroundedPrompt:
    depth = {bond.subject: 1 for bond in graph.bonds if bond.predicate == "in front of"}
    depth |= {bond.others[0]: 1 for bond in graph.bonds if bond.predicate == "behind"}
    return GroundedPrompt(
        prompt=caption,
        negative_prompt=", ".join(graph.absent),
        regions=tuple(
            Region(
                id=f"r{number}",
                phrase=graph.things[slot.thing].phrase,
                box=boxes[slot],
                z=depth.get(slot.thing, 0),
            )
            for number, slot in enumerate(graph.slots(), start=1)
        ),
    )


def _said(box: Box) -> str:
    return f"[{', '.join(f'{value:.2f}' for value in box)}]"
