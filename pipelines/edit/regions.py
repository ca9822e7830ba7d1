"""Regions of a document, kept true to a picture that changes.

Axes: H x W pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from grounding.errors import PromptError
from grounding.masks import bitmap_to_box, bitmap_to_rle, region_bitmap, region_box
from grounding.message import Content, RegionContent, TextContent
from grounding.planning.caption import read_caption, read_phrase
from grounding.planning.relations import PREDICATES, holds
from grounding.prompt import GroundedPrompt, Region, Relation
from grounding.stickers.vocabulary import CONCEPTS, article

__all__ = [
    "Setting",
    "captioned",
    "free_id",
    "outlined",
    "setting",
    "uncovered",
    "with_region",
    "without",
]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a prompt says that no region does.

    Attributes:
        things: Phrases of what it names and no region stands for.
        place: What lies behind: "on a beach".
    """

    things: tuple[str, ...] = ()
    place: str = ""


def with_region(document: GroundedPrompt, region: Region) -> GroundedPrompt:
    """The document with a region in the place of the one of its id, else after all others."""
    regions = [region if one.id == region.id else one for one in document.regions]
    if all(one.id != region.id for one in document.regions):
        regions.append(region)
    return document.replace(regions=regions)


def without(document: GroundedPrompt, name: str) -> GroundedPrompt:
    """The document without a region: what pointed at it says it in words, or says it no more."""
    said = document.region(name).phrase or name
    regions = []
    for region in document.regions:
        reference = region.reference
        if reference is not None and reference.image is None and reference.region == name:
            region = region.replace(reference=None)
        if region.id != name:
            regions.append(region)
    messages = [
        message.replace(content=tuple(_retold(message.content, name, said)))
        for message in document.messages
    ]
    relations = [one for one in document.relations if name not in (one.subject, one.object)]
    return document.replace(regions=regions, messages=messages, relations=relations)


def _retold(content: Iterable[Content], name: str, said: str) -> Iterable[Content]:
    for part in content:
        if not isinstance(part, RegionContent) or name not in part.ids:
            yield part
            continue
        if others := tuple(one for one in part.ids if one != name):
            yield RegionContent(type="region", ids=others)
        yield TextContent(type="text", text=said)


def outlined(region: Region, area: Bool[np.ndarray, "H W"]) -> Region:
    """The region with a mask, and the box around it; what was drawn to show it is forgotten.

    Raises:
        PromptError: the mask is empty.
    """
    box = bitmap_to_box(area)
    if box is None:
        raise PromptError(f"nothing of {region.id} ({region.phrase or 'unnamed'}) would be left")
    forgotten = {"points": (), "strokes": (), "polygon": (), "keypoints": ()}
    return region.replace(mask=bitmap_to_rle(area), box=box, **forgotten)


def uncovered(document: GroundedPrompt, area: Bool[np.ndarray, "H W"], name: str) -> GroundedPrompt:
    """The document after a region was laid over an area: it lies in front of what it covers.

    Masks of others lose the area; of one that is hidden altogether, box and phrase stay.
    """
    size = (area.shape[1], area.shape[0])
    regions, front = [], None
    for region in document.regions:
        seen = region_bitmap(region, size) if region.id != name else None
        if seen is not None and (seen & area).any():
            front = max(region.z + 1, front or 0)
            if region.mask is not None:
                left = seen & ~area
                mask = bitmap_to_rle(left) if left.any() else None
                region = region.replace(mask=mask, box=bitmap_to_box(left) or region_box(region))
        regions.append(region)
    if front is not None:
        regions = [
            region.replace(z=max(region.z, front)) if region.id == name else region
            for region in regions
        ]
    return document.replace(regions=regions)


def free_id(document: GroundedPrompt) -> str:
    """An id that no region has: r1, r2, ..."""
    taken = {region.id for region in document.regions}
    return next(name for n in range(1, len(taken) + 2) if (name := f"r{n}") not in taken)


def setting(document: GroundedPrompt) -> Setting:
    """What a document says of its picture beside its regions."""
    read = read_caption(document.prompt, CONCEPTS)
    named = {
        thing.noun
        for r in document.regions
        if (thing := read_phrase(r.phrase, CONCEPTS)) is not None
    }
    things = tuple(thing.phrase for thing in read.things if thing.noun not in named)
    return Setting(things=things, place=document.background or read.background)


def captioned(document: GroundedPrompt, around: Setting) -> GroundedPrompt:
    """The document with words that are true again: its prompt, and how its regions stand.

    The prompt names all regions, and what is around them. Relations in space that hold no more are
    left out.

    Args:
        document: After an edit.
        around: The setting before it.
    """
    things = [region.phrase for region in document.regions if region.phrase]
    names = [article(name) for name in (*things, *around.things)]
    words = ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)
    relations = [one for one in document.relations if _is_true(one, document)]
    return document.replace(prompt=f"{words} {around.place}".strip(), relations=relations)


def _is_true(relation: Relation, document: GroundedPrompt) -> bool:
    """Whether two regions stand as a relation says; True of what geometry does not tell."""
    if PREDICATES.get(relation.predicate) != 1:
        return True
    boxes = [region_box(document.region(name)) for name in (relation.subject, relation.object)]
    subject, other = boxes
    if subject is None or other is None:
        return True
    return holds(relation.predicate, subject, [other])
