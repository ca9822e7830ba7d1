"""Tensors of which each process holds a share (PyTorch's FSDP2, arXiv 2304.11277).

A state that is saved holds whole tensors, so that a run can be gone on with by another number of
processes. To gather one, every process must ask for it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

__all__ = ["gathered", "holds_shares", "is_share", "like", "take_shares", "total_norm"]


def is_share(tensor: Any) -> bool:
    """Whether other processes hold the rest of it."""
    return isinstance(tensor, DTensor)


def holds_shares(parameters: Mapping[str, nn.Parameter]) -> bool:
    """Whether some of the parameters are shares."""
    return any(map(is_share, parameters.values()))


def gathered(state: Any) -> Any:
    """A state (tensors in mappings and lists) with whole tensors in the place of shares."""
    return _mapped(state, lambda held: held.full_tensor() if isinstance(held, DTensor) else held)


def like(value: Tensor, parameter: Tensor) -> Tensor:
    """What this process holds of a whole tensor, if it holds a share of `parameter`."""
    if not isinstance(parameter, DTensor):
        return value
    moved = value.to(parameter.device)
    return distribute_tensor(moved, parameter.device_mesh, parameter.placements, src_data_rank=None)


def take_shares(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer that read a whole state keep this process's share of it."""
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape and not is_share(value):
                moments[name] = like(value, parameter)


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """The norm of all together; of shares, every process must ask for it."""
    return torch.stack([gathered(tensor.norm()) for tensor in tensors]).norm()


def _mapped(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, Mapping):
        return {name: _mapped(value, change) for name, value in state.items()}
    if isinstance(state, list):
        return [_mapped(value, change) for value in state]
    return state
