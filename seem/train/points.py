"""Masks are compared at points: some anywhere, some where objects end.

Axes: B images, N points, C channels, P passes, Q queries, M targets, H W pixels of the truth, h w
the mask map. Points are (x, y) in -1..1 over the picture, as `grid_sample` takes them. Reading
features at points and multiplying afterwards equals forming the mask and reading it there, at a
fraction of the cost. (PointRend, Kirillov et al., arXiv 1912.08193, section 4, looks for uncertain
points of each mask; here they are where the truth's pixels change owner, the same for all
queries.)
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

__all__ = ["draw_points", "mask_costs", "mask_losses", "owners_at", "read_at"]

EDGE_SHARE = 0.5  # of the points that lie near an edge
EDGE_REACH = 3.0  # pixels, at most, between such a point and the edge


def draw_points(
    ids: UInt8[np.ndarray, "B H W"], count: int, generator: np.random.Generator
) -> Float[Tensor, "B N 2"]:
    """Points for each image, half of them near edges (all anywhere, if there are no edges)."""
    height, width = ids.shape[1:]
    points = generator.uniform(-1, 1, (len(ids), count, 2))
    near = int(count * EDGE_SHARE)
    for row, owner in zip(points, ids, strict=True):
        edge = np.zeros(owner.shape, bool)
        edge[:, 1:] |= owner[:, 1:] != owner[:, :-1]
        edge[1:] |= owner[1:] != owner[:-1]
        found = np.flatnonzero(edge)
        if len(found):
            y, x = np.divmod(found[generator.integers(len(found), size=near)], width)
            place = np.stack([x, y], 1) + generator.uniform(-EDGE_REACH, EDGE_REACH, (near, 2))
            row[:near] = np.clip(2 * place / (width, height) - 1, -1, 1)
    return torch.from_numpy(points).float()


def owners_at(
    ids: UInt8[np.ndarray, "B H W"], points: Float[Tensor, "B N 2"]
) -> Int[Tensor, "B N"]:
    """Whose the pixel under each point is."""
    maps = torch.from_numpy(ids.astype(np.float32))[:, None]
    read = F.grid_sample(
        maps, points[:, None], mode="nearest", padding_mode="border", align_corners=False
    )
    return read[:, 0, 0].long()


def read_at(
    features: Float[Tensor, "B C h w"], points: Float[Tensor, "B N 2"]
) -> Float[Tensor, "B C N"]:
    """Features at points, bilinear, as masks are resized to the picture."""
    grid = points.to(features)[:, None]
    return F.grid_sample(features, grid, align_corners=False, padding_mode="border")[:, :, 0]


def mask_losses(
    logits: Float[Tensor, "*lead N"], truth: Float[Tensor, "*lead N"]
) -> tuple[Float[Tensor, "*lead"], Float[Tensor, "*lead"]]:
    """Binary cross-entropy and dice loss (Milletari et al., arXiv 1606.04797) of each mask."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(-1)
    chance = logits.sigmoid()
    dice = 1 - (2 * (chance * truth).sum(-1) + 1) / (chance.sum(-1) + truth.sum(-1) + 1)
    return entropy, dice


def mask_costs(
    logits: Float[Tensor, "P Q N"], truth: Float[Tensor, "P M N"]
) -> tuple[Float[Tensor, "P Q M"], Float[Tensor, "P Q M"]]:
    """The losses of each query for each target."""
    count = logits.shape[-1]
    everywhere = F.softplus(logits).sum(-1, keepdim=True)  # of -log(1 - p)
    entropy = (everywhere - logits @ truth.transpose(1, 2)) / count
    chance = logits.sigmoid()
    common = chance @ truth.transpose(1, 2)
    total = chance.sum(-1)[..., None] + truth.sum(-1)[:, None]
    return entropy, 1 - (2 * common + 1) / (total + 1)
