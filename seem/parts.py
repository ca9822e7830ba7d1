"""The parts of a mask that were pointed at: of two that are alike, the one that was clicked.

Axes: C masks, h w the mask map (stride 4), H W the padded image.
"""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seem.ranking import OUTSIDE, STRIDE

__all__ = ["touched_parts"]


def touched_parts(
    masks: Float[Tensor, "C h w"], evidence: Bool[Tensor, "H W"]
) -> Float[Tensor, "C h w"]:
    """Mask logits without the connected parts on which nothing was drawn.

    Args:
        masks: Logits; parts are what is above zero and connected by sides.
        evidence: What was drawn on the object. A mask that it touches nowhere stays as it is.
    """
    y, x = (evidence.nonzero() // STRIDE).unbind(1)
    kept = []
    for mask in masks:
        inside = (mask > 0).cpu().numpy().astype(np.uint8)
        _, numbers = cv2.connectedComponents(inside, connectivity=4)
        parts = torch.from_numpy(numbers).to(mask.device)
        touched = parts[y, x].unique()
        touched = touched[touched > 0]
        away = (mask > 0) & ~torch.isin(parts, touched)
        kept.append(torch.where(away, OUTSIDE, mask) if len(touched) else mask)
    return torch.stack(kept) if kept else masks
