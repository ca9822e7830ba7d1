"""Likeness: a second eye, which looks into boxes: how much is what is there like its phrase?

SEEM finds things wherever they are, but on pictures that were drawn it misses some and names some
wrongly. The cosine of a box with its phrase tells right things from wrong ones better
(`python -m benchmarks.eyes` compares them). So it decides about the regions of the plan, and SEEM
finds what else is there: an extra counts if it is like its own name.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from grounding.embedder import Embedder
from grounding.planning.caption import read_phrase
from grounding.planning.scene_graph import SceneGraph
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from grounding.stickers.vocabulary import CONCEPTS
from pipelines.composition.composer import Look
from pipelines.composition.looker import seen_phrase
from pipelines.composition.verdict import Finding, Verdict
from pipelines.window import square

__all__ = ["SecondLook", "second_thought"]

LEAST = 0.75  # cosine


@dataclass(frozen=True, kw_only=True)
class SecondLook:
    """Looks at a picture as `look` does, and then into boxes.

    Attributes:
        look: The first eye.
        embedder: Of texts and pictures.
        least: Likeness from which a box shows its phrase.
    """

    look: Look
    embedder: Embedder
    least: float = LEAST

    def __call__(
        self, image: UInt8[np.ndarray, "H W 3"], plan: GroundedPrompt, graph: SceneGraph
    ) -> Verdict:
        """Compare a picture with its plan; as `Looker`."""
        picture = Image.fromarray(image)
        return second_thought(
            self.look(image, plan, graph),
            plan,
            lambda region: self.likeness(picture, region),
            self.least,
        )

    def likeness(self, picture: Image.Image, region: Region) -> float | None:
        """The cosine of a region's phrase with what is in its box; None: it has not both."""
        thing, box = read_phrase(region.phrase, CONCEPTS), region.bounds()
        if thing is None or box is None:
            return None
        phrase, seen = self.embedder.embed([seen_phrase(thing), square(picture, box)])
        return float(phrase @ seen)


def second_thought(
    verdict: Verdict,
    plan: GroundedPrompt,
    likeness: Callable[[Region], float | None],
    least: float,
) -> Verdict:
    """What the second eye makes of the first one's verdict.

    Args:
        verdict: The first eye's; of regions without likeness it stands.
        plan: What was to be drawn.
        likeness: Of a region; in the score it stands in the place of right or wrong.
        least: Likeness from which a box shows its phrase.

    Returns:
        The verdict, what is most unlike its phrase first.
    """
    told = {one.id: value for one in plan.regions if (value := likeness(one)) is not None}
    found = {one.id: one for one in verdict.found.regions}

    def stands(one: Finding) -> bool:
        if one.kind == "extra":
            value = likeness(found[one.about])
            return value is None or value >= least
        if one.kind == "relation":  # what is in its planned box stands as planned
            return len(told) < len(plan.regions)
        return one.about not in told

    unlike = sorted((value, name) for name, value in told.items() if value < least)
    findings = [
        Finding("unlike", name, f"unlike: {name} {plan.region(name).phrase}, {value:.2f}")
        for value, name in unlike
    ] + [one for one in verdict.findings if stands(one)]
    new = replace(verdict, findings=tuple(findings))
    values = [told.get(one.id, float(one.id not in new.wrong)) for one in plan.regions]
    score = (sum(values) - len(new.extra)) / max(1, len(values))
    return replace(new, score=round(score, 6))
