"""Which records are in which batch: an epoch's order, from a seed.

With `grouped`, a batch has pictures or words alone, never both, and records of like length, so that
little is padded (arXiv 2310.03744, appendix; haotian-liu/LLaVA, LengthGroupedSampler).
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["epoch_batches"]

STRETCH = 50  # batches among which records are sorted by length


def epoch_batches(
    lengths: Sequence[int],
    pictured: Sequence[bool],
    batch: int,
    *,
    grouped: bool,
    seed: int,
) -> list[list[int]]:
    """Return the batches of an epoch, each record in one of them.

    A batch that is not full is filled with records of the same kind from the epoch's beginning, so
    that all batches weigh the same.

    Args:
        lengths: Of the records, in words or tokens.
        pictured: Whether each has a picture.
        batch: Records of a batch.
        grouped: As above; otherwise the order is random throughout.
        seed: Of this epoch.
    """
    chance = np.random.default_rng(seed)
    everything = np.arange(len(lengths))
    kinds = [everything]
    if grouped:
        with_picture = np.asarray(pictured, bool)
        kinds = [everything[with_picture], everything[~with_picture]]
    batches: list[list[int]] = []
    for kind in kinds:
        if not len(kind):
            continue
        order = chance.permutation(kind)
        if grouped:
            stretch = STRETCH * batch
            parts = [order[i : i + stretch] for i in range(0, len(order), stretch)]
            order = np.concatenate([sorted(p, key=lambda i: -lengths[int(i)]) for p in parts])
        missing = -len(order) % batch
        order = np.concatenate([order, np.resize(order, missing)])
        batches += order.reshape(-1, batch).tolist()
    return [batches[i] for i in chance.permutation(len(batches))]
