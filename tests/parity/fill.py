"""Tensors that are functions of their names: how a golden file's model and inputs are made.

`RandomState` is NumPy's frozen stream: it gives the same numbers in every version.
"""

import math
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

OPEN_GATE = 0.6  # what every 0-dimensional parameter, that is every alpha, becomes


def noise(name: str, shape: Sequence[int]) -> Tensor:
    """Standard-normal float32 numbers that belong to a name."""
    stream = np.random.RandomState(zlib.crc32(name.encode()))
    return torch.from_numpy(stream.standard_normal(tuple(shape)).astype(np.float32))


def unit(name: str, shape: Sequence[int]) -> Tensor:
    """Uniform float32 numbers of [0, 1) that belong to a name."""
    stream = np.random.RandomState(zlib.crc32(name.encode()))
    return torch.from_numpy(stream.random_sample(tuple(shape)).astype(np.float32))


def parameter(key: str, shape: Sequence[int]) -> Tensor:
    """What the parameter that the official state dict calls `key` is filled with."""
    if len(shape) == 0:
        return torch.tensor(OPEN_GATE)
    numbers = noise(key, shape)
    if len(shape) >= 2:
        return numbers / math.sqrt(math.prod(shape[1:]))
    if key.endswith("weight"):
        return 1 + 0.1 * numbers
    return (0.05 if key.endswith("bias") else 0.5) * numbers


def fill(module: nn.Module, official_key: Callable[[str], str]) -> None:
    """Set every parameter of a module from the official name of its key."""
    state = module.state_dict()
    filled = {key: parameter(official_key(key), value.shape) for key, value in state.items()}
    module.load_state_dict(filled)
