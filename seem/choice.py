"""Which query answers a prompt: the one most like what the prompt asks for.

Axes: Q queries, n objects or texts, C channels, h w the mask map (stride 4).

Drawn prompts compare mask embeddings with the mean mask feature under the positive pixels; texts
compare caption embeddings with the text's own embedding, as classes do (SEEM, arXiv 2304.06718,
section 3).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seem.attention_groups import NOBODY
from seem.text_encoder import normalised

__all__ = ["LARGEST_SCALE", "Choice", "caption_likeness", "choose", "mask_likeness"]

LARGEST_SCALE = 100.0  # of cosines; CLIP, arXiv 2103.00020, section 2.5


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The answers to the objects or texts of one prompt.

    Attributes:
        similarity: Of every query to each of them; -inf for queries of other objects, [Q, n].
        winner: The most similar query, the first of equals, [n].
        margin: How far the second is behind, [n]; inf if there is no second.
    """

    similarity: Float[Tensor, "Q n"]
    winner: Int[Tensor, " n"]
    margin: Float[Tensor, " n"]


def mask_likeness(
    mask_embeddings: Float[Tensor, "Q C"],
    owners: Int[Tensor, " Q"],
    means: Float[Tensor, "n C"],
    *,
    first: int = 0,
) -> Float[Tensor, "Q n"]:
    """Products of mask embeddings and mean mask features, for each object among its own queries.

    Args:
        mask_embeddings: Of all queries.
        owners: The object that each query serves, or `NOBODY`: all.
        means: Mean mask features of the objects number `first` and following.
        first: Number of the first of those objects.
    """
    similarity = mask_embeddings @ means.T
    numbers = torch.arange(first, first + len(means), device=owners.device)
    stranger = (owners[:, None] != numbers) & (owners[:, None] != NOBODY)
    return similarity.masked_fill(stranger, -math.inf)


def caption_likeness(
    captions: Float[Tensor, "*P Q C"],
    classes: Float[Tensor, "*p n C"],
    logit_scale: Float[Tensor, ""],
) -> Float[Tensor, "*P Q n"]:
    """Scaled cosines of captions with texts or classes of unit length.

    Args:
        captions: The queries' captions, not normalised.
        classes: Text embeddings of unit length; one list for all passes, or one for each.
        logit_scale: The logarithm of the scale, a parameter; the scale is at most 100.
    """
    return logit_scale.exp().clamp(max=LARGEST_SCALE) * (normalised(captions) @ classes.mT)


def choose(similarity: Float[Tensor, "Q n"]) -> Choice:
    """Take the most similar query for each object or text."""
    best = similarity.max(dim=0, keepdim=True).values
    places = torch.arange(len(similarity), device=similarity.device)[:, None]
    winner = places.expand_as(similarity).masked_fill(similarity != best, len(similarity)).amin(0)
    others = similarity.masked_fill(places == winner, -math.inf)
    return Choice(similarity=similarity, winner=winner, margin=best[0] - others.max(dim=0).values)
