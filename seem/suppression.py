"""One mask for each thing: of masks that cover the same pixels the most certain stays.

Axes: Q masks, C those that stay, h w the mask map (stride 4).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grounding.errors import PromptError
from seem.preprocess import ImageSize

__all__ = ["distinct"]

STRIDE = 4  # of the mask map


def distinct(
    masks: Float[Tensor, "Q h w"],
    certainty: Float[Tensor, " Q"],
    size: ImageSize,
    *,
    threshold: float,
    overlap: float,
) -> Int[Tensor, " C"]:
    """Non-maximum suppression of masks: greedy, by descending certainty.

    Args:
        masks: Mask logits.
        certainty: In [0, 1].
        size: Of the image; what lies on the padding does not count.
        threshold: The least certainty.
        overlap: IoU from which two masks are one thing.

    Returns:
        Indices of those that stay, the most certain first; empty masks do not stay.

    Raises:
        PromptError: threshold or overlap is no fraction.
    """
    for name, value in (("threshold", threshold), ("overlap", overlap)):
        if not 0 <= value <= 1:
            raise PromptError(f"{name} must lie in 0..1; got {value!r}")
    height, width = (-(-side // STRIDE) for side in size.image)
    inside = (masks[:, :height, :width] > 0).flatten(1)
    areas = inside.sum(1)
    order = certainty.sort(descending=True, stable=True).indices
    order = order[(certainty[order] >= threshold) & (areas[order] > 0)]
    kept: list[int] = []
    for index in order.tolist():
        common = (inside[kept] & inside[index]).sum(1)
        union = areas[kept] + areas[index] - common
        if not bool((common >= overlap * union).any()):
            kept.append(index)
    return torch.tensor(kept, dtype=torch.long, device=masks.device)
