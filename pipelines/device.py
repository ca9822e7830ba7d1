"""Where a model runs and in what precision: "auto" settled, impossible wishes refused."""

import torch

from grounding.errors import LavallamaError

__all__ = ["choose_device", "choose_dtype"]

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """Settle a device: "auto" takes CUDA where there is one and the CPU elsewhere.

    Raises:
        LavallamaError: unknown, or not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise LavallamaError(
            f"device must be auto, cpu, cuda, cuda:N or mps; got {name!r}"
        ) from None
    here = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    count = here.get(device.type, 0)
    if not 0 <= (device.index or 0) < count:
        known = [kind for kind, number in here.items() if number]
        raise LavallamaError(
            f"device {name!r} is not on this machine, which has: {', '.join(known)}; "
            "choose one of these, or auto"
        )
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Settle a dtype: "auto" is float16 on CUDA and float32 elsewhere.

    Raises:
        LavallamaError: unknown name.
    """
    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if name not in _DTYPES:
        raise LavallamaError(f"dtype must be auto, {', '.join(_DTYPES)}; got {name!r}")
    return _DTYPES[name]
