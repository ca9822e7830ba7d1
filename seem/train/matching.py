"""Which query learns which target: the cheapest assignment of each image's targets to its queries.

Axes: P passes, Q queries, M targets (padded to the most of the batch). (Carion et al., "End-to-End
Object Detection with Transformers", arXiv 2005.12872, section 3.1.)
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = ["UNMATCHED", "match"]

UNMATCHED = -1


@torch.no_grad()
def match(cost: Float[Tensor, "P Q M"], present: Bool[Tensor, "P M"]) -> Int[Tensor, "P Q"]:
    """Assign each target that is there to a query of its own (Hungarian algorithm).

    Args:
        cost: Of each query for each target.
        present: Which targets are there; at most Q.

    Returns:
        The target of each query, or `UNMATCHED`.
    """
    table = np.nan_to_num(cost.float().cpu().numpy(), nan=1e4, posinf=1e4, neginf=-1e4)
    there = present.cpu().numpy()
    result = np.full(table.shape[:2], UNMATCHED)
    for row, costs, exists in zip(result, table, there, strict=True):
        targets = np.flatnonzero(exists)
        queries, columns = linear_sum_assignment(costs[:, targets])
        row[queries] = targets[columns]
    return torch.from_numpy(result).to(cost.device)
