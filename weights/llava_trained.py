"""What a LLaVA's training leaves, in the files that the original writes.

| trained               | files                                                                    |
|-----------------------|--------------------------------------------------------------------------|
| projector alone       | `config.json`, `mm_projector.bin`                                        |
| LoRA and projector    | `adapter_config.json`, `adapter_model.safetensors`; upon an original     |
|                       | base also `non_lora_trainables.bin`, which holds the projector           |

Both are put upon what they were trained on (`weights.llava.read_llava`, `base`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from grounding.files import write_files
from grounding.llava.config import LlavaConfig
from weights.llava_config import original_config
from weights.llava_keys import Layout, original_key, transformers_key
from weights.llava_lora import ADAPTER_CONFIG, TRAINED_BESIDE

__all__ = ["write_lora", "write_projector"]

PEFT = "base_model.model."  # before every name that peft writes


def write_projector(
    state: Mapping[str, Tensor], config: LlavaConfig, folder: Path, *, vision_tower: str
) -> None:
    """Write the projector of stage 1.

    Args:
        state: By our names; others than the projector's are left out.
        config: Of the model.
        folder: Where to.
        vision_tower: Where the tower is from; the config says so.

    Raises:
        OutputError: The place cannot be written.
    """
    own = {original_key(k, "model"): t.cpu() for k, t in state.items() if _is_projectors(k)}
    document = original_config(config) | {"mm_vision_tower": vision_tower}
    write_files(
        {
            folder / "mm_projector.bin": lambda path: torch.save(own, path),
            folder / "config.json": _json(document),
        }
    )


def write_lora(
    factors: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    folder: Path,
    *,
    layout: Layout,
    base: str,
    rank: int,
    alpha: int,
    dropout: float,
) -> None:
    """Write a LoRA and the projector that was trained beside it.

    Args:
        factors: By our names, as `grounding.llava.train.lora.lora_factors` returns them.
        state: By our names; others than the projector's are left out.
        folder: Where to.
        layout: Of the base.
        base: What it was trained on.
        rank: Of the updates.
        alpha: Their scale times the rank.
        dropout: While they were trained.

    Raises:
        CheckpointError: The layout has no place for the model.
        OutputError: The place cannot be written.
    """

    def name(key: str) -> str:
        own = original_key(key, "model") if layout == "original" else transformers_key(key)
        return PEFT + own

    updates = {name(key): tensor.cpu().contiguous() for key, tensor in factors.items()}
    beside = {name(k): t.cpu().contiguous() for k, t in state.items() if _is_projectors(k)}
    suffix = len(".lora_A.weight")
    layers = sorted({key[:-suffix].removeprefix(PEFT) for key in updates})
    adapter: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "bias": "none",
        "target_modules": layers,
        "inference_mode": True,
    }
    contents: dict[Path, Any] = {}
    if layout == "original":
        contents[folder / TRAINED_BESIDE] = lambda path: torch.save(beside, path)
    else:
        updates |= beside
        adapter["modules_to_save"] = ["multi_modal_projector"]
    contents[folder / "adapter_model.safetensors"] = save(updates)
    contents[folder / ADAPTER_CONFIG] = _json(adapter)
    write_files(contents)


def _is_projectors(key: str) -> bool:
    return key.startswith("projector.") or key == "image_newline"


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()
