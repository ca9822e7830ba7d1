"""The text encoder first learns words alone: names apart from one another, materials as modifiers.

Axes: N texts, C channels. Every concept, material and background gets a direction of its own, all
at right angles; a text shall lie where the thing lies that it is about: "the lava llama left of a
dog" near llama plus a little lava. Image features then have names to go to that do not move under
them; without this all names start out alike (their cosines above 0.8) and stay so for long.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from seem.text_encoder import TextEncoder, normalised
from seem.train.names import tokens_of
from seem.train.scenes import Lexicon
from seem.vocabulary import BACKGROUND

__all__ = ["learn_words"]

MATERIAL_SHARE = 0.7  # of a material's direction beside its object's
TEXTS = 64  # of a step
PLACES = ("left of", "right of", "above", "below")
SIDES = ("on the left", "on the right", "at the top", "at the bottom")
ARTICLES = ("", "the ", "a ")


def learn_words(
    encoder: TextEncoder,
    tokenizer: Callable[..., Any],
    lexicon: Lexicon,
    *,
    steps: int,
    learning_rate: float = 2e-3,
) -> float:
    """Train a text encoder on words alone.

    Args:
        encoder: Is trained.
        tokenizer: Of its words.
        lexicon: The words.
        steps: Of Adam, 64 texts each.
        learning_rate: At first; falls to zero.

    Returns:
        The mean cosine of the last texts with where they should lie.
    """
    names = (*lexicon.concepts, *lexicon.materials, *lexicon.backgrounds, BACKGROUND)
    directions = _directions(len(names), encoder.projection.shape[1])
    place = {name: directions[i] for i, name in enumerate(names)}
    optimizer = torch.optim.Adam(encoder.parameters(), lr=learning_rate)
    chance = np.random.default_rng(0)
    cosine = torch.zeros(())
    for step in tqdm(range(steps), desc="words", disable=None):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 - step / steps)
        said = [_say(lexicon, chance) for _ in range(TEXTS)]
        ids, mask = tokens_of(tokenizer, [text for text, *_ in said])
        device = encoder.projection.device
        found = encoder(ids.to(device), mask.to(device)).embeddings
        wanted = torch.stack(
            [place[name] + (MATERIAL_SHARE * place[m] if m else 0) for _, name, m in said]
        )
        cosine = (found * normalised(wanted).to(device)).sum(-1).mean()
        optimizer.zero_grad(set_to_none=True)
        (1 - cosine).backward()
        optimizer.step()
    return cosine.item()


def _directions(count: int, dim: int) -> Float[Tensor, "N C"]:
    """Directions at right angles, as long as there are enough of them; else random ones."""
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(dim, max(count, dim), generator=generator)
    if count <= dim:
        return torch.linalg.qr(random[:, :dim])[0].T[:count]
    return normalised(random.T[:count])


def _say(lexicon: Lexicon, chance: np.random.Generator) -> tuple[str, str, str | None]:
    """A text, what it is about, and of what material that is."""

    def any_of(words: tuple[str, ...]) -> str:
        return words[int(chance.integers(len(words)))]

    kind = chance.random()
    if kind < 0.05:
        return BACKGROUND, BACKGROUND, None
    if kind < 0.15 and lexicon.backgrounds:
        name = any_of(lexicon.backgrounds)
        return any_of(ARTICLES) + name, name, None
    if kind < 0.2 and lexicon.materials:
        name = any_of(lexicon.materials)
        return name, name, None
    name, material = any_of(lexicon.concepts), None
    if lexicon.materials and chance.random() < 0.6:
        material = any_of(lexicon.materials)
    text = any_of(ARTICLES) + (f"{material} {name}" if material else name)
    if kind < 0.4:
        return f"{text} {any_of(SIDES)}", name, material
    if kind < 0.6:
        return f"{text} {any_of(PLACES)} the {any_of(lexicon.concepts)}", name, material
    return text, name, material
