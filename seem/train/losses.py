"""What queries should have said: losses of groups of queries, after every layer at once.

Axes: L layers (the predictions before the first one included), B images, Q queries of a group, M
targets (padded), N points, K names, C channels.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seem.train.matching import UNMATCHED, match
from seem.train.points import mask_costs, mask_losses

__all__ = ["NAME_WEIGHT", "OUTLINE_WEIGHT", "answer_loss", "set_loss", "truth_at"]

NAME_WEIGHT, OUTLINE_WEIGHT = 4.0, 5.0  # of cross-entropy; of binary cross-entropy and of dice
NOBODY_WEIGHT = 0.1  # of queries without a target in the cross-entropy


def truth_at(
    owners: Int[Tensor, "B N"], numbers: Sequence[Sequence[int]]
) -> tuple[Float[Tensor, "B M N"], Bool[Tensor, "B M"]]:
    """Targets at points, and which of them are there."""
    most = max(1, *(len(row) for row in numbers))
    table = torch.full((len(numbers), most), -1)
    for row, values in zip(table, numbers, strict=True):
        row[: len(values)] = torch.tensor(values, dtype=torch.long)
    table = table.to(owners.device)
    return (owners[:, None] == table[..., None]).float(), table >= 0


def set_loss(
    names: Float[Tensor, "L B Q K"],
    masks: Float[Tensor, "L B Q N"],
    owners: Int[Tensor, "B N"],
    labels: Sequence[Mapping[int, int]],
) -> tuple[Tensor, dict[str, float]]:
    """The loss of queries that answer freely: each target is matched to one, the rest to nobody.

    Args:
        names: Logits; the last name means nobody.
        masks: Logits at points.
        owners: Whose each point is.
        labels: The targets of each picture: the names of some objects, by number.
    """
    layers = len(names)
    truth, present = truth_at(owners, [list(row) for row in labels])
    wanted = torch.zeros(present.shape, dtype=torch.long)
    for row, named in zip(wanted, labels, strict=True):
        row[: len(named)] = torch.tensor(list(named.values()), dtype=torch.long)
    names, masks = names.flatten(0, 1), masks.flatten(0, 1)
    wanted, truth, present = (
        part.to(owners.device).repeat(layers, *[1] * (part.ndim - 1))
        for part in (wanted, truth, present)
    )
    with torch.no_grad():
        chance = names.softmax(-1)
        likely = chance.gather(2, wanted[:, None].expand(-1, chance.shape[1], -1))
        entropy, dice = mask_costs(masks, truth)
        matched = match(OUTLINE_WEIGHT * (entropy + dice) - NAME_WEIGHT * likely, present)
    found = matched != UNMATCHED
    nobody = names.shape[-1] - 1
    label = torch.where(found, wanted.gather(1, matched.clamp(min=0)), nobody)
    weights = names.new_ones(nobody + 1)
    weights[nobody] = NOBODY_WEIGHT
    naming = F.cross_entropy(names.flatten(0, 1), label.flatten(), weight=weights)
    image, query = found.nonzero(as_tuple=True)
    target = truth[image, matched[image, query]]
    outlines = [
        part.sum() / max(1, len(image)) for part in mask_losses(masks[image, query], target)
    ]
    numbers = {"name": naming.item(), "bce": outlines[0].item(), "dice": outlines[1].item()}
    total = NAME_WEIGHT * naming + OUTLINE_WEIGHT * (outlines[0] + outlines[1])
    return total * layers, numbers


def answer_loss(
    masks: Float[Tensor, "L B Q N"],
    owners: Int[Tensor, "B Q"],
    truth: Float[Tensor, "B M N"],
    asked: Bool[Tensor, "B Q"],
) -> tuple[Tensor, dict[str, float]]:
    """The loss of queries that serve an object: all of them shall find it.

    Args:
        masks: Logits at points.
        owners: The target that each query serves.
        truth: The targets at the points.
        asked: Which queries are there.
    """
    image, query = asked.nonzero(as_tuple=True)
    target = truth[image, owners[image, query]]
    entropy, dice = mask_losses(masks[:, image, query], target.expand(len(masks), -1, -1))
    last = masks[-1, image, query] > 0
    common = (last & (target > 0)).sum(-1) / (last | (target > 0)).sum(-1).clamp(min=1)
    numbers = {
        "bce": entropy.mean().item(),
        "dice": dice.mean().item(),
        "iou": common.mean().item(),
    }
    return OUTLINE_WEIGHT * (entropy.mean() + dice.mean()) * len(masks), numbers
