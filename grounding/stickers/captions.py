"""Captions: what a scene shows, said in a few ways, sometimes with who is where."""

from collections.abc import Sequence

import numpy as np

from grounding.stickers.scene import Box, Sticker
from grounding.stickers.vocabulary import BACKGROUNDS, article

APART = 0.15  # centres nearer than this, along an axis, are not called left of or above


def caption(stickers: Sequence[Sticker], background: str, generator: np.random.Generator) -> str:
    """Say what a scene shows, e.g. "a lava llama left of a dog, on a beach".

    Args:
        stickers: The objects; they are named in random order.
        background: A key of ``vocabulary.BACKGROUNDS``.
        generator: Decides the order and the wording.
    """
    order = [stickers[i] for i in generator.permutation(len(stickers))]
    first = article(order[0].phrase)
    rest = [article(s.phrase) for s in order[1:]]
    said = relation(order[0], order[1]) if len(order) > 1 and generator.random() < 0.5 else None
    if said:
        words = f"{first} {said} {rest[0]}"
        rest = rest[1:]
        words += f" with {_listed(rest)}" if rest else ""
    else:
        words = _listed([first, *rest])
    return f"{words} {BACKGROUNDS[background]}" if generator.random() < 0.9 else words


def relation(subject: Sticker, other: Sticker) -> str | None:
    """How the subject lies to the other: left of, right of, above, below, or None if unclear."""
    return direction(subject.box, other.box)


def direction(subject: Box, other: Box) -> str | None:
    """As `relation`, of normalised boxes."""
    dx = (subject[0] + subject[2] - other[0] - other[2]) / 2
    dy = (subject[1] + subject[3] - other[1] - other[3]) / 2
    if max(abs(dx), abs(dy)) < APART:
        return None
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
