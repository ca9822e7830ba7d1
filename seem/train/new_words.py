"""New words for a text encoder that stays as it is: their tokens' embeddings alone are learned.

Axes: N texts, K names, C channels. A name gets a direction of its own, away from all others
(cross-entropy of cosines), whatever is said around it; and what was known keeps its direction when
a new name stands beside it ("the dog left of the robot"). Texts without a new word keep every bit.
(Gal et al., "An Image is Worth One Word", arXiv 2208.01618, learn one embedding likewise.)
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from seem.text_encoder import TextEncoder
from seem.train.names import tokens_of
from seem.train.words import ARTICLES, PLACES, SIDES

__all__ = ["learn_new_words"]

STEPS = 200
RATE = 0.03  # of Adam at first; falls to zero
SHARPNESS = 10.0  # of cosines, as logits
TEXTS = 32  # of a step, and as many bare names at most
OLD = 128  # known names of a step at most


def learn_new_words(
    encoder: TextEncoder,
    tokenizer: Callable[..., Any],
    ids: Sequence[int],
    names: Sequence[str],
    known: Sequence[str],
    *,
    steps: int = STEPS,
) -> float:
    """Learn the embeddings of some tokens, and nothing else.

    Args:
        encoder: Is trained.
        tokenizer: Of its words.
        ids: The tokens.
        names: In which they stand.
        known: Words and names that stay what they are.
        steps: Of Adam.

    Returns:
        The largest cosine of a new name with another name, in the end.
    """
    names, known = list(names), [name for name in dict.fromkeys(known) if name not in names]
    weight, chance = encoder.token_embedding.weight, np.random.default_rng(0)
    others = torch.ones(len(weight), dtype=torch.bool)
    others[list(ids)] = False
    needed = [p.requires_grad for p in encoder.parameters()]
    encoder.requires_grad_(False)
    weight.requires_grad_(True)

    def embed(texts: Sequence[str]) -> torch.Tensor:
        read, mask = tokens_of(tokenizer, texts)
        return encoder(read.to(weight.device), mask.to(weight.device)).embeddings

    old = torch.empty(0, encoder.projection.shape[1], device=weight.device)
    if known:
        with torch.no_grad():
            old = torch.cat([embed([name]) for name in known])
    optimizer = torch.optim.Adam([weight], lr=RATE)
    for step in tqdm(range(steps), desc="words", disable=None, leave=False):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)
        shown = chance.permutation(len(names))[:TEXTS].tolist()
        kept = chance.permutation(len(known))[:OLD].tolist()
        said = [_say(shown, kept, names, known, chance) for _ in range(TEXTS)]
        found = embed([*(names[i] for i in shown), *(text for text, _ in said)])
        choices = torch.cat([found[: len(shown)], old[kept]])
        cosines = found @ choices.T
        wanted = torch.tensor([*range(len(shown)), *(label for _, label in said)])
        wanted = wanted.to(cosines.device)
        loss = F.cross_entropy(SHARPNESS * cosines, wanted)
        loss = loss + (1 - cosines.gather(1, wanted[:, None])).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        assert weight.grad is not None, "the names hold the tokens"
        weight.grad[others.to(weight.device)] = 0  # and so Adam leaves them alone, to the bit
        optimizer.step()
    with torch.no_grad():
        found = embed(names)
        cosines = torch.cat([found @ found.T - torch.eye(len(found)).to(found), found @ old.T], 1)
    for parameter, before in zip(encoder.parameters(), needed, strict=True):
        parameter.requires_grad_(before)
    return cosines.max().item()


def _say(
    shown: Sequence[int],
    kept: Sequence[int],
    names: Sequence[str],
    known: Sequence[str],
    chance: np.random.Generator,
) -> tuple[str, int]:
    """A text about one thing, with another beside it or not, and the place of its name."""

    def any_of(count: int) -> int:
        return int(chance.integers(count))

    count, subject = len(shown), any_of(len(shown))
    texts = [names[i] for i in shown] + [known[i] for i in kept]
    kind = chance.random()
    if kind < 0.25 and kept:
        subject = count + any_of(len(kept))
        end = f" {PLACES[any_of(len(PLACES))]} the {texts[any_of(count)]}"
    elif kind < 0.5:
        end = f" {PLACES[any_of(len(PLACES))]} the {texts[any_of(len(texts))]}"
    elif kind < 0.75:
        end = f" {SIDES[any_of(len(SIDES))]}"
    else:
        end = ""
    return f"{ARTICLES[any_of(len(ARTICLES))]}{texts[subject]}{end}", subject
