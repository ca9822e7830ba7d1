"""Two small heads that make features good before the decoder knows how to use them.

Axes: B pictures, M objects, N points, K names, C channels.

"together": the mean feature of a few of an object's points, projected, multiplies the features of
all points; that product is to be the object's mask. "named": each point's feature, projected, is
to be like the name of what it lies on. Both get gradients at every point, from the first step on.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from seem.train.points import mask_losses

__all__ = ["PointHeads"]

CLICKED = 4  # points whose mean feature stands for an object
NAMED_WEIGHT, TOGETHER_WEIGHT = 20.0, 4.0
NOBODY = -100  # the label of points without a name; `cross_entropy` leaves it out


class PointHeads(nn.Module):
    """The heads, and their loss."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.together = nn.Linear(dim, dim)
        self.named = nn.Linear(dim, dim)

    def loss(
        self,
        features: Float[Tensor, "B C N"],
        owners: Int[Tensor, "B N"],
        labels: Sequence[Mapping[int, int]],
        likeness: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss at the points.

        Args:
            features: Mask features.
            owners: Whose each point is.
            labels: For each picture, the names of the objects that have one.
            likeness: Captions [..., C] -> logits of names [..., K].
        """
        points = features.transpose(1, 2)
        targets = torch.full_like(owners, NOBODY)
        for row, owner, named in zip(targets, owners, labels, strict=True):
            for number, label in named.items():
                row[owner == number] = label
        logits = likeness(self.named(points))
        doubt = F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=NOBODY, reduction="none"
        ).view_as(targets)
        doubts = [doubt[i][owners[i] == n] for i, named in enumerate(labels) for n in named]
        means_of = [part.mean() for part in doubts if len(part)]
        naming = torch.stack(means_of).mean() if means_of else doubt.sum()
        image, truth, means = [], [], []
        for number, owner in enumerate(owners):
            for which in owner.unique():
                mask = owner == which
                found = mask.nonzero()[:, 0]
                spread = torch.arange(CLICKED, device=found.device) * len(found) // CLICKED
                image.append(number)
                truth.append(mask)
                means.append(points[number, found[spread]].mean(0))
        prototypes = self.together(torch.stack(means))
        masks = torch.einsum("mc,mcn->mn", prototypes, features[image])
        entropy, dice = (part.mean() for part in mask_losses(masks, torch.stack(truth).float()))
        numbers = {"name": naming.item(), "bce": entropy.item(), "dice": dice.item()}
        return NAMED_WEIGHT * naming + TOGETHER_WEIGHT * (entropy + dice), numbers
