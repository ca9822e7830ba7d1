"""Small heads that make features good before the decoder knows how to use them.

Axes: B pictures, M objects, N points, K names, C channels.

"together": the mean mask feature of a few of an object's points, projected, multiplies the features
of all points; that product is to be the object's mask. "named": each point's mask feature,
projected, is to be like the name of what it lies on; and so is the mean of an object's features on
each map that the decoder looks at. All get gradients from the first step on.
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


class PointHeads(nn.Module):
    """The heads, and their loss."""

    def __init__(self, dim: int, levels: int) -> None:
        super().__init__()
        self.together = nn.Linear(dim, dim)
        self.named = nn.Linear(dim, dim)
        self.level_named = nn.ModuleList(nn.Linear(dim, dim) for _ in range(levels))

    def loss(
        self,
        features: Float[Tensor, "B C N"],
        levels: Sequence[Float[Tensor, "B C N"]],
        owners: Int[Tensor, "B N"],
        labels: Sequence[Mapping[int, int]],
        likeness: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss at the points.

        Args:
            features: Mask features.
            levels: Features of the maps that the decoder looks at.
            owners: Whose each point is.
            labels: For each picture, the names of the objects that have one.
            likeness: Captions [..., C] -> logits of names [..., K].
        """
        places = [
            (i, owner == number, label)
            for i, (owner, named) in enumerate(zip(owners, labels, strict=True))
            for number, label in named.items()
            if bool((owner == number).any())
        ]
        naming = self._naming(features, levels, places, likeness)
        entropy, dice = self._outlines(features, owners)
        numbers = {"name": naming.item(), "bce": entropy.item(), "dice": dice.item()}
        return NAMED_WEIGHT * naming + TOGETHER_WEIGHT * (entropy + dice), numbers

    def _naming(
        self,
        features: Tensor,
        levels: Sequence[Tensor],
        places: Sequence[tuple[int, Tensor, int]],
        likeness: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Cross-entropy of names, every object counting alike, mean over points and levels."""
        if not places:
            return features.sum() * 0
        points = likeness(self.named(features.transpose(1, 2)))
        doubts = []
        for i, here, label in places:
            said = points[i, here]
            doubts.append(F.cross_entropy(said, said.new_full((len(said),), label).long()))
        parts = [torch.stack(doubts).mean()]
        wanted = torch.tensor([label for _, _, label in places], device=features.device)
        for level, named in zip(levels, self.level_named, strict=True):
            means = torch.stack([level[i, :, here].mean(1) for i, here, _ in places])
            parts.append(F.cross_entropy(likeness(named(means)), wanted))
        return torch.stack(parts).mean()

    def _outlines(self, features: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and dice of what a few points of each object say of all points."""
        points = features.transpose(1, 2)
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
        entropy, dice = mask_losses(masks, torch.stack(truth).float())
        return entropy.mean(), dice.mean()
