"""Models without parameters yet, built in no time: on the meta device, nothing drawn at random."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["empty_parameters"]

# On the meta device these are not computed but simulated, and the first of them imports all of
# torch's compiler, which takes longer than building a small model.
RANDOM_FILLS = (torch.Tensor.normal_, torch.Tensor.uniform_)


class _NoRandomNumbers(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in RANDOM_FILLS or getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@contextmanager
def empty_parameters() -> Iterator[None]:
    """Build modules on the meta device without initialising them; `assign=True` fills them."""
    with torch.device("meta"), _NoRandomNumbers():
        yield
