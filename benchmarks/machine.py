"""The machine that a benchmark ran on: its name, and how much memory was in use at most."""

import platform
import resource
import sys

import torch

__all__ = ["device_name", "peak_memory"]


def device_name(device: str) -> str:
    """A name for reports."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device} ({platform.machine()})"


def peak_memory(device: torch.device) -> int:
    """Bytes so far: allocated on CUDA, resident otherwise."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
