"""Likeness: a second eye, which looks into the planned boxes of things that are of some material.

SEEM finds a thing wherever it is and may take a strange one for what was asked for: of 111 drawn
objects of pairs of material and object that it never saw, it could not tell right ones from wrong
ones (area under the curve 0.52, by the judge of stickers). The cosine of what is in the box with
its phrase could, to some extent (0.80). So such things are scored by that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from grounding.embedder import Embedder
from grounding.geometry import Box, normalized_to_pixels
from grounding.planning.caption import read_phrase
from grounding.planning.scene_graph import SceneGraph
from grounding.prompt import GroundedPrompt
from grounding.stickers.vocabulary import CONCEPTS
from pipelines.composition.composer import Look
from pipelines.composition.looker import Verdict, seen_phrase
from pipelines.composition.sketch import is_made_of_something

__all__ = ["SecondLook", "doubt"]

AROUND = 1.1  # sides of the square, in longer sides of the box
LEAST = 0.75  # cosine: nothing that was wrong of those objects was more like its phrase


@dataclass(frozen=True, kw_only=True)
class SecondLook:
    """Looks at a picture as `look` does, and then into its boxes.

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
        return doubt(self.look(image, plan, graph), plan, self._likenesses(image, plan), self.least)

    def _likenesses(
        self, image: UInt8[np.ndarray, "H W 3"], plan: GroundedPrompt
    ) -> dict[str, float]:
        """The cosine of phrases of some material with what is in their boxes, by region id."""
        picture = Image.fromarray(image)
        likenesses = {}
        for region in plan.regions:
            thing, box = read_phrase(region.phrase, CONCEPTS), region.bounds()
            if thing is None or box is None or not is_made_of_something(region):
                continue
            phrase, seen = self.embedder.embed([seen_phrase(thing), _square(picture, box)])
            likenesses[region.id] = float(phrase @ seen)
        return likenesses


def _square(picture: Image.Image, box: Box) -> Image.Image:
    """What is in a box and around it: CLIP sees squares, and of others the middle."""
    x0, y0, x1, y1 = normalized_to_pixels(box, picture.size)
    x, y, half = (x0 + x1) / 2, (y0 + y1) / 2, max(1.0, AROUND * max(x1 - x0, y1 - y0) / 2)
    return picture.crop((round(x - half), round(y - half), round(x + half), round(y + half)))


def doubt(
    verdict: Verdict, plan: GroundedPrompt, likenesses: Mapping[str, float], least: float
) -> Verdict:
    """Add what the second eye thinks.

    Args:
        verdict: The first eye's.
        plan: What was judged.
        likenesses: Of regions, by id; in the score each stands in the place of right or wrong.
        least: Likeness from which a box shows its phrase.
    """
    unlike = {name: value for name, value in likenesses.items() if value < least}
    phrases = {region.id: region.phrase for region in plan.regions}
    findings = [f"unlike: {name} {phrases[name]}, {value:.2f}" for name, value in unlike.items()]
    first = {name: float(name not in verdict.wrong) for name in phrases}
    gained = sum(value - first[name] for name, value in likenesses.items())
    return replace(
        verdict,
        wrong=tuple(dict.fromkeys((*verdict.wrong, *unlike))),
        findings=(*verdict.findings, *findings),
        score=round(verdict.score + gained / max(1, len(phrases)), 6),
    )
