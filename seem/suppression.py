"""One mask for each thing: of masks that cover the same pixels the most certain stays.

Axes: Q masks, C those that stay, h w the mask map (stride 4).
"""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grounding.errors import PromptError
from seem.preprocess import ImageSize

__all__ = ["distinct"]

STRIDE = 4  # of the mask map
FILLED = 0.8  # of a connected place: what is as large as that is a thing of its own


def distinct(
    masks: Float[Tensor, "Q h w"],
    certainty: Float[Tensor, " Q"],
    size: ImageSize,
    *,
    threshold: float,
    overlap: float,
) -> Int[Tensor, " C"]:
    """Non-maximum suppression of masks: greedy, by descending certainty.

    A mask that shares enough with one that stays, or of which enough lies in that one (or that one
    in it), is the same thing again. It is not if the smaller is as large as the connected place of
    the larger where it lies: then the larger takes several things together.

    Args:
        masks: Mask logits.
        certainty: In [0, 1].
        size: Of the image; what lies on the padding does not count.
        threshold: The least certainty.
        overlap: IoU, or share of the smaller, from which two masks are one thing.

    Returns:
        Indices of those that stay, the most certain first; empty masks do not stay.

    Raises:
        PromptError: threshold or overlap is no fraction.
    """
    for name, value in (("threshold", threshold), ("overlap", overlap)):
        if not 0 <= value <= 1:
            raise PromptError(f"{name} must lie in 0..1; got {value!r}")
    height, width = (-(-side // STRIDE) for side in size.image)
    inside = masks[:, :height, :width] > 0
    areas = inside.sum((1, 2))
    order = certainty.sort(descending=True, stable=True).indices
    order = order[(certainty[order] >= threshold) & (areas[order] > 0)]
    kept: list[int] = []
    for index in order.tolist():
        common = (inside[kept] & inside[index]).sum((1, 2))
        union = areas[kept] + areas[index] - common
        smaller = areas[kept].clamp(max=int(areas[index]))
        rivals = [kept[i] for i in (common >= overlap * smaller).nonzero()[:, 0].tolist()]
        same = bool((common >= overlap * union).any())
        if not same and not any(_is_part(inside[index], inside[other]) for other in rivals):
            kept.append(index)
    return torch.tensor(kept, dtype=torch.long, device=masks.device)


def _is_part(one: Bool[Tensor, "h w"], other: Bool[Tensor, "h w"]) -> bool:
    """Whether the smaller of two masks is less than the places of the larger that it touches."""
    small, large = (mask.cpu().numpy() for mask in sorted((one, other), key=lambda m: int(m.sum())))
    _, places = cv2.connectedComponents(large.astype(np.uint8), connectivity=4)
    touched = np.isin(places, np.unique(places[small & large]))
    return bool(small.sum() < FILLED * touched.sum())
