"""A thing and its parts: of masks of one text, what lies inside another gives way to it.

Axes: Q masks, h w the mask map (stride 4).
"""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["wholes_first"]

HELD = 0.8  # share of a part that its whole holds
NEARLY = 0.9  # of a part's value, that the whole must have itself
PART = 1e-3  # factor on what is left of a part's value


def wholes_first(masks: Float[Tensor, "Q h w"], value: Float[Tensor, " Q"]) -> Float[Tensor, " Q"]:
    """Values among which no part stands before its whole.

    Half of a llama can look as much like a llama as all of it does.

    Args:
        masks: Logits.
        value: How well each answers, in [0, 1].
    """
    inside = (masks > 0).flatten(1).float()
    areas = inside.sum(1)
    held = inside @ inside.T >= HELD * areas[:, None]  # [part, whole]
    larger = areas[None] > areas[:, None]
    as_good = value[None] >= NEARLY * value[:, None]
    is_part = (held & larger & as_good & (areas[:, None] > 0)).any(1)
    return torch.where(is_part, PART * value, value)
