"""Where a model runs and in what precision: "auto" settled, impossible wishes refused."""

import torch

from grounding.errors import LavallamaError

__all__ = ["choose_device", "choose_dtype", "computes_bfloat16"]

BFLOAT16_PARAMETERS = 50_000_000  # the smallest that gains, in docs/precision.md

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


def choose_dtype(name: str, device: torch.device, parameters: int | None = None) -> torch.dtype:
    """Settle the type of a model's parameters.

    "auto" is what is quickest where results look the same (docs/precision.md): float16 on CUDA;
    bfloat16 on a CPU that computes in it (AVX512-BF16, AMX, Arm's BF16), for models that are large
    enough to gain from it; float32 elsewhere.

    Args:
        name: "auto", "float32", "float16" or "bfloat16".
        device: Where the model runs.
        parameters: How many the model has; None: not known, as for a large model.

    Raises:
        LavallamaError: Unknown name, or float16 on a CPU.
    """
    if name == "auto":
        if device.type == "cuda":
            return torch.float16
        large = parameters is None or parameters >= BFLOAT16_PARAMETERS
        quick = device.type == "cpu" and large and computes_bfloat16()
        return torch.bfloat16 if quick else torch.float32
    if name not in _DTYPES:
        raise LavallamaError(f"dtype must be auto, {', '.join(_DTYPES)}; got {name!r}")
    if name == "float16" and device.type == "cpu":
        raise LavallamaError(
            "float16 on a CPU takes a hundred times as long as float32; choose dtype auto, "
            "float32 or bfloat16, or a GPU"
        )
    return _DTYPES[name]


def computes_bfloat16() -> bool:
    """Whether this machine's CPU has instructions for bfloat16, and torch uses them."""
    if hasattr(torch.cpu, "get_capabilities"):
        return any(there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
