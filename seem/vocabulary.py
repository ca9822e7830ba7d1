"""Class names as vectors: many sentences about a class, their mean direction.

Axes: N sentences about one class, K classes, C channels of a text's vector.

A name stands in 81 sentences: the 80 that CLIP uses on ImageNet (the notebook
https://github.com/openai/CLIP/blob/main/notebooks/Prompt_Engineering_for_ImageNet.ipynb) and the
bare name, which X-Decoder puts before them (arXiv 2212.11270). Each is encoded and brought to
length one; their mean, again brought to length one, is the class.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from grounding.errors import PromptError

__all__ = [
    "BACKGROUND",
    "TEMPLATES",
    "Vocabulary",
    "class_embeddings",
    "class_sentences",
    "mean_direction",
    "spoken_name",
]

BACKGROUND = "background"
"""The class that stands last and means none of the others."""

COCO_SUFFIXES = ("-other", "-merged", "-stuff")
"""Bookkeeping in COCO's panoptic names ("tree-merged"), not said aloud."""

_LOOKS = (
    *("bad", "good", "bright", "dark", "blurry", "cropped", "pixelated", "jpeg corrupted"),
    *("low resolution", "close-up", "black and white"),
)
_SUBJECTS = ("hard to see", "clean", "dirty", "cool", "nice", "weird", "large", "small")
_ARTS = (
    *("sculpture", "rendering", "rendition", "drawing", "painting"),
    *("sketch", "doodle", "tattoo"),
)
_STUFFS = ("embroidered", "plastic", "origami", "toy", "plushie", "cartoon")


def _sentences_with(article: str) -> tuple[str, ...]:
    """The 38 sentences that CLIP says with "a" and again with "the"."""
    return (
        f"a photo of {article} {{}}.",
        *(f"a {look} photo of {article} {{}}." for look in _LOOKS),
        *(f"a photo of {article} {subject} {{}}." for subject in _SUBJECTS),
        *(f"a {art} of {article} {{}}." for art in _ARTS),
        *(f"{art} of {article} {{}}." for art in ("art", "graffiti", "itap")),
        *(f"{article} {stuff} {{}}." for stuff in _STUFFS),
        f"{article} {{}} in a video game.",
    )


TEMPLATES: tuple[str, ...] = (
    "{}.",
    *_sentences_with("a"),
    *_sentences_with("the"),
    "a photo of many {}.",
    "a photo of my {}.",
    "a photo of one {}.",
    "itap of my {}.",
)
"""Sentences with a place for a name; "itap" is a photographers' "I took a picture"."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The classes that a model was trained on, and how it wants to be told of classes.

    Attributes:
        things: Classes that can be counted.
        stuff: Classes that cannot.
        templates: The sentences that a name stands in, with one `{}` each.
    """

    things: tuple[str, ...]
    stuff: tuple[str, ...] = ()
    templates: tuple[str, ...] = TEMPLATES

    @property
    def names(self) -> tuple[str, ...]:
        """All classes, things first."""
        return self.things + self.stuff


def spoken_name(name: str) -> str:
    """A class's name without COCO's bookkeeping ("tree-merged"), as people say it."""
    for suffix in COCO_SUFFIXES:
        name = name.replace(suffix, "")
    return name


def class_sentences(name: str, templates: Sequence[str] = TEMPLATES) -> list[str]:
    """Put a class into every sentence, as people say it."""
    return [template.format(spoken_name(name)) for template in templates]


def mean_direction(vectors: Float[Tensor, "N C"]) -> Float[Tensor, " C"]:
    """The mean of vectors of length one, at length one."""
    mean = vectors.mean(dim=0)
    return mean / mean.norm()


def class_embeddings(
    names: Sequence[str],
    encode: Callable[[list[str]], Float[Tensor, "N C"]],
    templates: Sequence[str] = TEMPLATES,
) -> Float[Tensor, "K C"]:
    """Vectors of classes, to be compared with those of queries.

    A class is encoded by itself: its vector does not depend on which others there are.

    Args:
        names: The classes; `BACKGROUND`, if wanted, stands last.
        encode: Texts -> their vectors at length one (`TextFeatures.embeddings`).
        templates: Sentences with one `{}` each.

    Raises:
        PromptError: There are no classes, or no templates.
    """
    if not names or not templates:
        raise PromptError(
            f"class vectors need at least one name and one template, got {len(names)} names and "
            f"{len(templates)} templates"
        )
    return torch.stack([mean_direction(encode(class_sentences(name, templates))) for name in names])
