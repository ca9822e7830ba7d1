"""Offload: of a model's parts, only those at work are on the accelerator; the others wait.

A group of parts that work together (the UNet, its gates, its ControlNets) comes when one of them is
called and goes when another group is. accelerate's hooks see to it; gates are bound to the UNet's
blocks but are no part of it, so they are moved by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from torch import nn

__all__ = ["Offload"]

WAITING = torch.device("cpu")


class Offload:
    """Moves groups of modules to a device and back.

    Args:
        groups: modules that work together; all of them are put on the CPU now.
        device: where they work.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Module]], device: torch.device) -> None:
        self.groups, self.device = [list(group) for group in groups], device
        self.here: list[nn.Module] | None = None
        for group in self.groups:
            for module in group:
                module.to(WAITING)
                add_hook_to_module(module, _Bring(self))

    def bring(self, module: nn.Module | None) -> None:
        """Have the group of a module on the device, and no other; None: no group at all."""
        group = next((one for one in self.groups if any(m is module for m in one)), None)
        if group is self.here:
            return
        for one in self.here or ():
            one.to(WAITING)
        for one in group or ():
            one.to(self.device)
        self.here = group


class _Bring(ModelHook):
    """Brings a module's group, and its arguments, before it runs."""

    def __init__(self, offload: Offload) -> None:
        self.offload = offload

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        self.offload.bring(module)
        device = self.offload.device
        return send_to_device(args, device), send_to_device(kwargs, device)
