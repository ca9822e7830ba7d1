"""Regions of a picture: by the names of a vocabulary, and by the phrases of its captions.

Names: SEEM's object queries, each as the name that it is likeliest to be, then, by a second
question, with the attribute that fits best. Phrases: what captions speak of, found one by one, as
GLIP makes its grounding data (arXiv 2112.03857, section 3.3) and GLIGEN takes it up (arXiv
2301.07093, section 4). Axes: H W the picture, N masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from grounding.errors import PromptError
from grounding.planning.caption import read_caption
from grounding.planning.scene_graph import Thing
from pipelines.annotate.settings import Names

if TYPE_CHECKING:
    from torch import Tensor

    from seem.predictor import Predictor

__all__ = ["Candidate", "by_name", "by_phrase", "phrases_of", "stuff_of", "things_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """Something on a picture.

    Attributes:
        phrase: What it is, with attributes: "lava llama".
        name: What it is, without: "llama".
        mask: Where it is.
        score: In [0, 1].
        said: Whether a caption speaks of it.
        thing: Whether it can be counted.
    """

    phrase: str
    name: str
    mask: Bool[np.ndarray, "H W"]
    score: float
    said: bool = False
    thing: bool = True


def by_name(predictor: Predictor, names: Names, least: float) -> list[Candidate]:
    """Find the things of a vocabulary on the predictor's image.

    Args:
        predictor: With the image set.
        names: What to look for.
        least: Scores below it are left out.
    """
    stuff = [name for name, _ in names.stuff]
    found = predictor.instances([*names.things, *stuff], things=names.things)
    best: dict[int, Candidate] = {}
    for mask, score, label, query in zip(
        found.masks, found.scores.tolist(), found.labels.tolist(), found.queries.tolist(),
        strict=True,
    ):  # fmt: skip
        if query not in best and score >= least and bool(mask.any()):  # the likeliest come first
            name = names.things[label]
            best[query] = Candidate(phrase=name, name=name, mask=_bitmap(mask), score=_part(score))
    phrases = _with_attributes(predictor, names.attributes, best)
    return [replace(one, phrase=phrases.get(query, one.name)) for query, one in best.items()]


def _with_attributes(
    predictor: Predictor, attributes: Sequence[str], found: dict[int, Candidate]
) -> dict[int, str]:
    """The phrase of each query, of its own name's, that it is likeliest to be."""
    if not attributes or not found:
        return {}
    phrases = phrases_of(dict.fromkeys(one.name for one in found.values()), attributes)
    texts = list(phrases)
    told = predictor.instances(texts)
    chosen: dict[int, str] = {}
    for label, query in zip(told.labels.tolist(), told.queries.tolist(), strict=True):
        one = found.get(query)
        if one is not None and phrases[texts[label]] == one.name:
            chosen.setdefault(query, texts[label])
    return chosen


def phrases_of(names: Iterable[str], attributes: Sequence[str]) -> dict[str, str]:
    """Each name, without attributes and with each of them: the name."""
    return {
        phrase: name
        for name in names
        for phrase in (name, *(f"{attribute} {name}" for attribute in attributes))
    }


def by_phrase(
    predictor: Predictor, things: Iterable[Thing], least: float
) -> tuple[list[Candidate], list[tuple[str, str]]]:
    """Find what captions speak of.

    Args:
        predictor: With the image set.
        things: Of `things_of`.
        least: Scores below it are left out.

    Returns:
        What was found; and, of phrases that were not, why, and the phrase.
    """
    candidates: list[Candidate] = []
    unseen: list[tuple[str, str]] = []
    for thing in things:
        try:
            [found] = predictor.find([thing.phrase], threshold=least)
        except PromptError:
            unseen.append(("a phrase that the segmenter cannot read", thing.phrase))
            continue
        if not len(found.scores):
            unseen.append(("a phrase that is not found", thing.phrase))
        for mask, score in zip(found.masks, found.scores.tolist(), strict=True):
            candidates.append(
                Candidate(
                    phrase=thing.phrase,
                    name=thing.noun,
                    mask=_bitmap(mask),
                    score=_part(score),
                    said=True,
                )
            )
    return candidates, unseen


def things_of(captions: Iterable[str], names: Names) -> list[Thing]:
    """What captions speak of, each phrase once, the largest number of it."""
    things: dict[str, Thing] = {}
    for caption in captions:
        try:
            graph = read_caption(caption, names.things)
        except PromptError:  # it speaks of more than can be read
            continue
        for thing in graph.things:
            known = things.get(thing.phrase)
            if known is None or (thing.exact, -thing.count) < (known.exact, -known.count):
                things[thing.phrase] = thing
    return list(things.values())


def stuff_of(predictor: Predictor, names: Names) -> list[Candidate]:
    """What of a picture cannot be counted, of panoptic segments."""
    if not names.stuff:
        return []
    classes = [*names.things, *(name for name, _ in names.stuff)]
    found = predictor.panoptic(classes, things=names.things)
    ids = found.map.cpu().numpy()
    return [
        Candidate(
            phrase=classes[segment.label],
            name=classes[segment.label],
            mask=ids == segment.id,
            score=_part(segment.score),
            thing=False,
        )
        for segment in found.segments
        if not segment.is_thing
    ]


def _bitmap(mask: Tensor) -> np.ndarray:
    return mask.cpu().numpy().astype(bool)


def _part(score: float) -> float:
    """A score, kept in [0, 1] and short."""
    return round(min(1.0, max(0.0, score)), 4)
