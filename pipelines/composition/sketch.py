"""Sketch: what is drawn first, where a thing of such a material never comes out right.

A model that was never shown ice cherries draws cherries, and turns cherries into ice. So what is
hard is drawn plain, and drawn over as it was asked for, from halfway through the noise: the shape
stays, the material comes (SDEdit, Meng et al., arXiv 2108.01073, with a sketch of one's own).
"""

import re
from collections.abc import Collection

from grounding.planning.caption import read_phrase
from grounding.planning.scene_graph import Thing
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from grounding.stickers.vocabulary import CONCEPTS, article
from pipelines.composition.looker import TOLD

__all__ = ["HALFWAY", "is_made_of_something", "sketch"]

HALFWAY = 0.6  # strength with which a sketch is drawn over


def is_made_of_something(region: Region) -> bool:
    """Whether a region's phrase says a material or colour."""
    return bool(_seen(read_phrase(region.phrase, CONCEPTS)))


def sketch(plan: GroundedPrompt, names: Collection[str]) -> GroundedPrompt:
    """The plan with plain things in the place of some.

    Args:
        plan: Regions with phrases; the prompt says them too.
        names: Ids of the regions that are to be plain.
    """
    regions, prompt = [], plan.prompt
    for region in plan.regions:
        thing = read_phrase(region.phrase, CONCEPTS)
        words = _seen(thing) if region.id in names else []
        if thing is not None and words:
            told = tuple(pair for pair in thing.attributes if pair[1] not in words)
            plain = Thing(noun=thing.noun, attributes=told).phrase
            for said, instead in ((article(region.phrase), article(plain)), (region.phrase, plain)):
                prompt = prompt.replace(said, instead)
            for word in words:  # "two ice cherries": a plural, or another order
                prompt = re.sub(rf"\b{re.escape(word)} (?={re.escape(thing.noun)})", "", prompt)
            region = region.replace(phrase=plain)
        regions.append(region)
    return plan.replace(prompt=prompt, regions=tuple(regions))


def _seen(thing: Thing | None) -> list[str]:
    """What can be seen of what a thing is like."""
    return [] if thing is None else [word for kind, word in thing.attributes if kind in TOLD]
