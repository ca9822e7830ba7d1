"""LoRA folders of LLaVA, merged into the model that they were trained on.

    W' = W + s B A,  s = alpha / r                   arXiv 2106.09685, section 4.1

The original writes `adapter_model.*` (peft), `non_lora_trainables.bin` (the projector) and a
config; peft with `modules_to_save` writes all of it into `adapter_model.safetensors`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from grounding.errors import CheckpointError
from weights.keymap import name_some
from weights.llava_keys import Layout, our_key
from weights.tensor_file import TensorFile

__all__ = ["ADAPTER_CONFIG", "adapter_base", "is_adapter", "merge_adapter"]

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
TRAINED_BESIDE = "non_lora_trainables.bin"
FACTOR = re.compile(r"^(.+)\.lora_(A|B)(?:\.default)?\.weight$")
UNSUPPORTED = ("use_dora", "alpha_pattern", "rank_pattern", "layer_replication", "megatron_config")


def is_adapter(folder: Path) -> bool:
    """Say whether a folder holds a LoRA."""
    return (folder / ADAPTER_CONFIG).is_file()


def adapter_base(folder: Path) -> str | None:
    """Return what the LoRA was trained on, as it says itself."""
    name = _read_config(folder).get("base_model_name_or_path")
    return str(name) if name else None


def merge_adapter(state: Mapping[str, Tensor], folder: Path, layout: Layout) -> dict[str, Tensor]:
    """Merge a LoRA into a model. Products are computed in float32, tensors keep their type.

    Args:
        state: The model's parameters by our names; the vision tower and projector may be missing.
        folder: The LoRA's.
        layout: Whose names the LoRA uses.

    Raises:
        CheckpointError: Incomplete, of another model, or of a kind that is not plain LoRA.
    """
    config = _read_config(folder)
    used = [name for name in UNSUPPORTED if config.get(name)]
    if used:
        raise CheckpointError(
            f"{folder / ADAPTER_CONFIG}: only plain LoRA can be merged, this one has "
            f"{name_some(used)}: merge it with peft first"
        )
    path = next((folder / name for name in ADAPTER_FILES if (folder / name).is_file()), None)
    if path is None:
        raise CheckpointError(f"{folder}: expected {' or '.join(ADAPTER_FILES)} in it")
    merged = dict(state)
    factors: dict[str, dict[str, Tensor]] = {}
    for key, tensor in TensorFile(path).read().items():
        match = FACTOR.match(key)
        if match is None:
            _put(merged, key, tensor, layout, path)
        else:
            factors.setdefault(match[1], {})[match[2]] = tensor
    for module, pair in factors.items():
        key = our_key(f"{module}.weight", layout)
        if key is None or key not in merged or pair.keys() != {"A", "B"}:
            raise CheckpointError(f"{path}: {module} is no layer of the model, or half of it")
        merged[key] = _merged(merged[key], pair, config, f"{path}: {module}")
    beside = folder / TRAINED_BESIDE
    if beside.is_file():
        for key, tensor in TensorFile(beside).read().items():
            _put(merged, key, tensor, layout, beside)
    return merged


def _put(state: dict[str, Tensor], key: str, tensor: Tensor, layout: Layout, source: Path) -> None:
    """A parameter that was trained whole."""
    ours = our_key(key.replace(".modules_to_save.default", ""), layout)
    known = ours is not None and (
        ours in state or ours.startswith(("projector.", "vision_tower.", "image_newline"))
    )
    if ours is None or not known:
        raise CheckpointError(f"{source}: unknown parameter {key}: is it of another model?")
    state[ours] = tensor


def _merged(
    weight: Tensor, pair: Mapping[str, Tensor], config: Mapping[str, Any], where: str
) -> Tensor:
    down, up = pair["A"].float(), pair["B"].float()
    if up.shape[-1] != down.shape[0] or (up.shape[0], down.shape[-1]) != tuple(weight.shape):
        raise CheckpointError(
            f"{where}: {tuple(up.shape)} x {tuple(down.shape)} does not fit {tuple(weight.shape)}"
        )
    rank, alpha = down.shape[0], float(config.get("lora_alpha") or down.shape[0])
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return (weight.float() + scale * (up @ down)).to(weight.dtype)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / ADAPTER_CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected a JSON object ({error})") from error
    if not isinstance(config, dict) or config.get("peft_type", "LORA") != "LORA":
        raise CheckpointError(f"{path}: expected the config of a LoRA")
    if config.get("fan_in_fan_out"):
        raise CheckpointError(f"{path}: transposed layers (fan_in_fan_out) are not supported")
    return config
