"""Recogniser: a second eye, which says what the regions that a segmenter found are.

A segmenter tells where things are; what they are, a model of pictures and words tells better, from
what is in their boxes: so Mask2Former's masks are named by CLIP (Ding et al., MaskCLIP, arXiv
2208.08984) and boxes in RegionCLIP (arXiv 2112.09106). Axes: N regions, K phrases.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from grounding.embedder import check_modality
from grounding.errors import PromptError
from grounding.masks import bitmap_to_box
from grounding.planning.scene_graph import Thing
from pipelines.annotate.finder import Candidate, phrases_of
from pipelines.annotate.settings import Names, Settings
from pipelines.retrieval.classifier import TEMPLATES, Classifier
from pipelines.window import square
from weights.registry import EMBEDDED, STICKERS

__all__ = ["Recogniser", "open_recogniser"]

SAID = 100.0  # how much likelier what a caption speaks of is than what none does
NOBODY = "none"


@dataclass(frozen=True, kw_only=True)
class Recogniser:
    """Says what regions are.

    Attributes:
        classifier: Of what is in a box.
        names: What there may be, besides what captions speak of.
    """

    classifier: Classifier
    names: Names

    def __call__(
        self, picture: Image.Image, candidates: Sequence[Candidate], things: Sequence[Thing]
    ) -> list[Candidate]:
        """Name regions.

        Args:
            picture: RGB.
            candidates: What was found; their phrases do not matter.
            things: What its captions speak of.

        Returns:
            The same regions, each as the phrase that it is likeliest to be. Its score is the
            phrase's probability, or the segmenter's where that is less.
        """
        boxes = [bitmap_to_box(one.mask) for one in candidates]
        seen = [(one, box) for one, box in zip(candidates, boxes, strict=True) if box is not None]
        if not seen:
            return []
        said = {thing.phrase: thing.noun for thing in things if self._reads(thing.phrase)}
        phrases = phrases_of(self.names.things, self.names.attributes) | said
        chances = self._chances([square(picture, box) for _, box in seen], list(phrases), said)
        likeliest = zip(chances.max(-1).values.tolist(), chances.argmax(-1).tolist(), strict=True)
        return [
            self._named(one, list(phrases)[place], phrases, said, chance)
            for (one, _), (chance, place) in zip(seen, likeliest, strict=True)
        ]

    def _chances(
        self, crops: Sequence[Image.Image], phrases: Sequence[str], said: dict[str, str]
    ) -> Float[Tensor, "N K"]:
        """How likely each crop is each phrase, given what captions speak of."""
        odds = torch.tensor([SAID if phrase in said else 1.0 for phrase in phrases])
        weighted = self.classifier.probabilities(crops, phrases).cpu() * odds
        return weighted / weighted.sum(-1, keepdim=True)

    def _named(
        self,
        one: Candidate,
        phrase: str,
        phrases: dict[str, str],
        said: dict[str, str],
        chance: float,
    ) -> Candidate:
        noun = phrases[phrase]
        own = phrase in said and noun not in self.names.things and not one.said
        return replace(
            one,
            phrase=phrase,
            name=one.name if own else noun,  # a caption's "puppy" stays the vocabulary's "dog"
            score=round(min(one.score, chance), 4),
            said=phrase in said,
        )

    def _reads(self, phrase: str) -> bool:
        try:
            self.classifier.labels([phrase])
        except PromptError:  # it is too long
            return False
        return True


def open_recogniser(settings: Settings, names: Names) -> Recogniser | None:
    """Load the embedder that settings name; None: the segmenter says what things are.

    Raises:
        LavallamaError: it cannot be had, or reads no pictures.
    """
    own = EMBEDDED if settings.segmenter == STICKERS else NOBODY
    model = settings.embedder or own
    if model == NOBODY:
        return None
    from pipelines.retrieval.embedders import open_embedder

    embedder = open_embedder(model, device=settings.device, offline=settings.offline)
    for modality in ("text", "image"):
        check_modality(embedder, modality, "--embedder")
    templates = TEMPLATES["plain" if model == EMBEDDED else "photo"]
    return Recogniser(classifier=Classifier(embedder=embedder, templates=templates), names=names)
