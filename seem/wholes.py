"""A thing and its parts: of masks of one text, what lies inside another gives way to it.

Axes: Q masks, h w the mask map (stride 4).
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["wholes_first"]

HELD = 0.8  # share of a part that its whole holds
NEARLY = 0.9  # of a part's value, that the whole must have itself
PART = 1e-3  # factor on what is left of a part's value


def wholes_first(masks: Float[Tensor, "Q h w"], value: Float[Tensor, " Q"]) -> Float[Tensor, " Q"]:
    """Values among which no part stands before its whole.

    Half of a llama can look as much like a llama as all of it does. A mask that fills one of the
    places where the larger one lies is no part, but one of several things that the larger one
    takes together.

    Args:
        masks: Logits.
        value: How well each answers, in [0, 1].
    """
    inside = masks > 0
    flat = inside.flatten(1).float()
    areas = flat.sum(1)
    held = flat @ flat.T >= HELD * areas[:, None]  # [part, whole]
    larger = areas[None] > areas[:, None]
    as_good = value[None] >= NEARLY * value[:, None]
    found = value.clone()
    pairs = (held & larger & as_good & (areas[:, None] > 0)).nonzero().tolist()
    for part, whole in pairs:
        if areas[part] < HELD * _around(inside[part], inside[whole]):
            found[part] = PART * value[part]
    return found


def _around(part: Bool[Tensor, "h w"], whole: Bool[Tensor, "h w"]) -> int:
    """How many pixels the connected places of a mask have that another mask touches."""
    _, places = cv2.connectedComponents(whole.cpu().numpy().astype(np.uint8), connectivity=4)
    touched = np.unique(places[part.cpu().numpy() & (places > 0)])
    return int(np.isin(places, touched).sum())
