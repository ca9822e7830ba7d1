"""What a bug report needs: versions, machine, cache: ``python -m pipelines.environment``."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.console import Parser, guarded
from pipelines.version import software

__all__ = ["describe_environment", "main"]

PROG = "lavallama env"
PACKAGES = (
    *("torch", "diffusers", "transformers", "huggingface_hub", "safetensors", "accelerate"),
    *("tokenizers", "sentencepiece", "protobuf", "numpy", "pillow", "opencv-python-headless"),
    *("xformers", "peft", "bitsandbytes", "hf-xet"),
)
VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return guarded(PROG, lambda: _print(as_json=arguments.json))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description="Say what a bug report needs; nothing in it is secret.")
    parser.add_argument("--json", action="store_true", help="write JSON, for machines")
    return parser


def _print(*, as_json: bool) -> int:
    found = describe_environment()
    if as_json:
        print(json.dumps(found))
        return 0
    for name, value in found.items():
        if isinstance(value, dict) and value:
            print(f"{name}:")
            width = max(map(len, value))
            for key, inner in value.items():
                print(f"  {key:{width}}  {inner}")
        else:
            print(f"{name}: {value if value != {} else 'none'}")
    return 0


def describe_environment() -> dict[str, Any]:
    """Describe this installation and machine; values are texts, numbers or dicts of them."""
    import torch
    from huggingface_hub import constants, get_token

    from grounding.attention import choose_backend
    from pipelines.device import choose_device, choose_dtype
    from pipelines.models import free_space
    from weights.hub_cache import describe_size

    device = choose_device("auto")
    dtype = choose_dtype("auto", device)
    cache = Path(constants.HF_HUB_CACHE)
    return {
        "software": software(),
        "place": str(Path(__file__).parents[1]),
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        "extras": _extras(),
        "device": str(device),
        "gpus": _gpus(torch),
        "dtype": str(dtype).removeprefix("torch."),
        "attention": choose_backend("auto", device, dtype),
        "cache": str(cache),
        "cache free": describe_size(free_space(cache)),
        "hub": constants.ENDPOINT,
        "logged in": "yes" if get_token() else "no",
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _gpus(torch: Any) -> dict[str, str]:
    if not torch.cuda.is_available():
        return {}
    found = {"cuda": str(torch.version.cuda)}
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        found[f"cuda:{number}"] = f"{properties.name}, {properties.total_memory / 1e9:.3g} GB"
    return found


def _extras() -> dict[str, str]:
    """Which extras of this package are complete, and what the others lack."""
    from packaging.requirements import Requirement

    try:
        package = importlib.metadata.distribution("lavallama")
    except importlib.metadata.PackageNotFoundError:
        return {"": "not known: lavallama runs from its source tree and is not installed"}
    lacking: dict[str, list[str]] = {
        extra: [] for extra in package.metadata.get_all("Provides-Extra") or []
    }
    for text in package.requires or []:
        wanted = Requirement(text)
        for extra, missing in lacking.items():
            asked = wanted.marker is not None and "extra" in str(wanted.marker)
            if not asked or not wanted.marker or not wanted.marker.evaluate({"extra": extra}):
                continue
            have = _version(wanted.name)
            if have == "not installed" or not wanted.specifier.contains(have, prereleases=True):
                missing.append(f"{wanted.name}{wanted.specifier} ({have})")
    return {extra: f"lacks {', '.join(m)}" if m else "yes" for extra, m in lacking.items()}


if __name__ == "__main__":
    sys.exit(main())
