"""What a LLaVA's folder stands on and does not hold, by what its small files say.

An original model has its vision tower elsewhere unless it was trained too; a LoRA has its language
model elsewhere. Nothing here reads weights or imports torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

__all__ = ["name_parts"]

INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
TOWER = "vision_tower"  # in the names of its parameters, and of the config's entry
BASE = "base_model_name_or_path"  # peft


def name_parts(folder: Path) -> list[str]:
    """Name the models that an original LLaVA, or a LoRA of one, is put upon or sees with.

    Args:
        folder: Of any model; of what is no original LLaVA nothing is named.

    Returns:
        Hub ids or paths, as its files name them.
    """
    config = _read(folder / "config.json")
    if f"mm_{TOWER}" not in config:
        return []
    parts = [_read(folder / "adapter_config.json").get(BASE)]
    if not any(TOWER in key for key in _names(folder)):
        parts.append(config[f"mm_{TOWER}"])
    return [str(part) for part in parts if part]


def _names(folder: Path) -> list[str]:
    """Names of parameters, as far as they can be had without reading weights."""
    for index in INDICES:
        names = _read(folder / index).get("weight_map")
        if isinstance(names, dict):
            return list(names)
    try:
        with safe_open(folder / "model.safetensors", framework="np") as file:
            return list(file.keys())
    except (OSError, SafetensorError):
        return []


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; of what is none, nothing: whoever loads the model says so."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
