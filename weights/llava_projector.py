"""Projectors in transformers' layout, which has two linear layers with an activation between them.

What has fewer is written with the activation `linear` (none) and identity matrices: y I + 0 is y to
the bit, so transformers opens it and computes the same. Read back, the identities are checked and
left out. `mlp2x_gelu` is written as it is; deeper ones the layout cannot hold.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from grounding.errors import CheckpointError
from grounding.llava.projector import projector_depth

__all__ = ["fold_projector", "unfold_projector"]

PREFIX = "projector."
NUMBERS = (0, 2)  # of the linear layers in our names


def unfold_projector(
    state: Mapping[str, Tensor], kind: str, width: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Add the identities that transformers' layout needs.

    Args:
        state: By our names.
        kind: Of the projector.
        width: Channels of a word.
        dtype: Of the identities.

    Raises:
        CheckpointError: The layout cannot hold this projector.
    """
    depth = projector_depth(kind)
    if depth > len(NUMBERS):
        raise CheckpointError(
            f"layout 'transformers' cannot hold the projector {kind}: it has two layers; use "
            "layout 'original'"
        )
    ready = {
        f"{PREFIX}0.{key.removeprefix(PREFIX)}" if kind == "linear" and _is_ours(key) else key: t
        for key, t in state.items()
    }
    for number in NUMBERS[depth:]:
        ready[f"{PREFIX}{number}.weight"] = torch.eye(width, dtype=dtype)
        ready[f"{PREFIX}{number}.bias"] = torch.zeros(width, dtype=dtype)
    return ready


def fold_projector(state: Mapping[str, Tensor], kind: str, where: str) -> dict[str, Tensor]:
    """Take the identities out again.

    Raises:
        CheckpointError: They are none: the config and the weights do not belong together.
    """
    ready = dict(state)
    for number in NUMBERS[projector_depth(kind) :]:
        weight = ready.pop(f"{PREFIX}{number}.weight", None)
        bias = ready.pop(f"{PREFIX}{number}.bias", None)
        if weight is None or bias is None or not _is_identity(weight, bias):
            raise CheckpointError(
                f"{where}: its config says that the projector is {kind}, its weights do not"
            )
    if kind != "linear":
        return ready
    first = f"{PREFIX}0."
    return {
        PREFIX + key.removeprefix(first) if key.startswith(first) else key: t
        for key, t in ready.items()
    }


def _is_ours(key: str) -> bool:
    return key in (f"{PREFIX}weight", f"{PREFIX}bias")


def _is_identity(weight: Tensor, bias: Tensor) -> bool:
    eye = torch.eye(weight.shape[0], dtype=weight.dtype)
    return torch.equal(weight, eye) and not bias.any()
