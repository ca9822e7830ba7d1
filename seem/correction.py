"""Clicks are kept: the least change of a mask that agrees with what was drawn.

Where the decoder's logits contradict a click or a stroke, the difference is spread over the pixels
that look alike (mask features) and lie near, by Gaussian-process regression (Rasmussen & Williams,
"Gaussian Processes for Machine Learning", 2006, equation 2.25): in closed form, with nothing to
train. A click then always counts, on pictures that are unlike those the model was trained on too.
Zhou et al., "Interactive Segmentation as Gaussian Process Classification" (arXiv 2302.14578), train
a network around the same idea.
Axes: C masks, D channels, h w the mask map (stride 4), H W the padded image, N drawn cells.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from seem.ranking import STRIDE

__all__ = ["kept_to_marks"]

MARGIN = 5.0  # the logit that a drawn cell shall have
LIKENESS = 0.5  # length scale of the kernel: distance of unit mask features
NEARNESS = 0.15  # and of places, in longer sides of the map
NOISE = 0.1  # variance: marks may be a little off
MOST_CELLS = 200  # of a long stroke every n-th
LARGEST = 10.0  # logits beyond are no surer


def kept_to_marks(
    masks: Float[Tensor, "C h w"],
    features: Float[Tensor, "D h w"],
    positive: Bool[Tensor, "H W"],
    negative: Bool[Tensor, "H W"],
    *,
    margin: float = MARGIN,
) -> Float[Tensor, "C h w"]:
    """Mask logits that agree with what was drawn, and else change as little as they can.

    Args:
        masks: Logits.
        features: Mask features of the image.
        positive: What was drawn on the object.
        negative: What was drawn beside it.
        margin: The logit that a drawn cell shall have at least, with its sign.
    """
    cells, sign = _drawn_cells(positive, negative)
    if not len(cells):
        return masks
    logits = masks.flatten(1).float().clamp(-LARGEST, LARGEST)
    missing = sign * (margin - sign * logits[:, cells]).clamp(min=0)
    if not missing.any():  # they agree already: nothing is spread, and no kernel need be known
        return logits.view_as(masks).to(masks)
    height, width = masks.shape[-2:]
    likeness = functional.normalize(features.flatten(1).T.float(), dim=1) / LIKENESS
    rows, columns = torch.meshgrid(
        torch.arange(height, device=masks.device),
        torch.arange(width, device=masks.device),
        indexing="ij",
    )
    places = torch.stack([rows, columns], dim=-1).flatten(0, 1) / (max(height, width) * NEARNESS)
    points = torch.cat([likeness, places], dim=1)
    kernel = _kernel(points, points[cells])
    noisy = kernel[cells] + NOISE * torch.eye(len(cells), device=masks.device)
    spread = kernel @ torch.linalg.solve(noisy, missing.T)
    return (logits + spread.T).view_as(masks).to(masks)


def _drawn_cells(
    positive: Bool[Tensor, "H W"], negative: Bool[Tensor, "H W"]
) -> tuple[Int[Tensor, " N"], Float[Tensor, " N"]]:
    """Cells of the mask map that were drawn on, and 1 or -1 for each; positive ones win."""
    on, beside = (
        functional.max_pool2d(bitmap[None].float(), STRIDE)[0].flatten() > 0
        for bitmap in (positive, negative)
    )
    cells = (on | beside).nonzero()[:, 0]
    cells = cells[:: 1 + (len(cells) - 1) // MOST_CELLS] if len(cells) else cells
    return cells, 2.0 * on[cells] - 1.0


def _kernel(points: Float[Tensor, "P D"], drawn: Float[Tensor, "N D"]) -> Float[Tensor, "P N"]:
    """The squared-exponential kernel of likeness and place together."""
    return (-0.5 * torch.cdist(points, drawn).square()).exp()
