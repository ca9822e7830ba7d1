"""Zero-shot classification: which of some labels a picture fits, by CLIP or another embedder.

Radford et al., arXiv 2103.00020, section 3.1.4: a label stands in several sentences ("a photo of
the {}."), whose vectors are averaged; the softmax of the scaled cosines is the probability.
Axes: N pictures, K labels or texts, C channels of the embedder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from grounding.embedder import Embedder, Item
from grounding.errors import PromptError
from seem.vocabulary import class_embeddings

__all__ = ["TEMPLATES", "Classifier", "clip_score"]

TEMPLATES: dict[str, tuple[str, ...]] = {
    "plain": ("{}",),
    "photo": (
        "a photo of the {}.",
        "a photo of one {}.",
        "a small photo of the {}.",
        "a close photo of the {}.",
        "a dark photo of the {}.",
        "a photo of the {} from afar.",
        "a picture that shows the {}.",
        "there is the {}.",
    ),
    "sticker": (
        "a sticker of the {}.",
        "an emoji of the {}.",
        "a flat drawing of the {}.",
        "clip art of the {}.",
        "an icon that shows the {}.",
    ),
}
"""Sentences that a label can stand in, by the name of the set."""
CLIP_SCORE_WEIGHT = 2.5  # Hessel et al., arXiv 2104.08718, section 3


@dataclass(kw_only=True, eq=False)
class Classifier:
    """Compares pictures, or recordings, with labels.

    Attributes:
        embedder: Of texts, and of what is classified.
        templates: Sentences with a `{}` each.
    """

    embedder: Embedder
    templates: tuple[str, ...] = TEMPLATES["plain"]
    _labels: dict[str, Tensor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for template in self.templates:
            if template.count("{}") != 1 or template.replace("{}", "").count("{"):
                raise PromptError(f'a template has one "{{}}" for the label, got {template!r:.80}')

    def labels(self, names: Sequence[str]) -> Float[Tensor, "K C"]:
        """The vectors of labels; each is made once and remembered.

        Raises:
            PromptError: There are none, or one is empty or too long.
        """
        if isinstance(names, str) or not names:
            raise PromptError(f"labels must be a list of at least one; got {names!r:.60}")
        for name in names:
            if name not in self._labels:
                [vector] = class_embeddings([name], self.embedder.embed, self.templates)
                self._labels[name] = vector
        return torch.stack([self._labels[name] for name in names])

    def probabilities(self, items: Sequence[Item], names: Sequence[str]) -> Float[Tensor, "N K"]:
        """How likely each label is for each picture or recording; a row adds up to 1."""
        cosines = self.embedder.embed(items) @ self.labels(names).T
        return (self.embedder.scale * cosines).softmax(-1)

    def similarities(self, items: Sequence[Item], texts: Sequence[str]) -> Float[Tensor, "N K"]:
        """The cosine of each picture or recording with each text, as it stands."""
        return self.embedder.embed(items) @ self.embedder.embed(texts).T


def clip_score(cosine: float) -> float:
    """CLIPScore: how well a caption fits a picture, of their cosine (arXiv 2104.08718)."""
    return CLIP_SCORE_WEIGHT * max(0.0, cosine)
