"""LoRA and its kin: changes to the layers of a UNet and of its text encoders.

    W  ->  W + weight * dW

`weights.lora` reads the files of every maker, `weights.lora_update` computes dW. The changes are
put into the model's parameters, all of one layer at once: they add up in whatever order, cost
nothing while it draws, and a weight of 0 leaves every bit as it was.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from grounding.errors import CheckpointError
from pipelines.generation.companions.embedding import Embedding
from pipelines.generation.companions.weighted import Weighted
from weights.base import BaseModel
from weights.hub import fetch_files
from weights.lora import PARTS, PEFT_CONFIG, read_lora
from weights.lora_update import Update
from weights.tensor_file import PICKLE_SUFFIXES

__all__ = ["Lora", "attach_loras"]

PEFT_FILE = "adapter_model.safetensors"
# What diffusers' trainers and peft write; the first that is there is taken.
STANDARD_FILES = (
    *("pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin"),
    *(PEFT_FILE, "adapter_model.bin"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lora:
    """One LoRA, read and known to fit.

    Attributes:
        asked: the file and its weight.
        updates: part of the base -> path of a layer -> its change.
        embeddings: words of one's own that came with it.
    """

    asked: Weighted
    updates: dict[str, dict[str, Update]]
    embeddings: tuple[Embedding, ...] = ()

    @classmethod
    def load(cls, asked: Weighted, base: BaseModel, *, offline: bool = False) -> Lora:
        """Read a LoRA for a base model.

        Args:
            asked: a file, a folder or hub id with one, and its weight.
            base: what it must fit.
            offline: never use the network.

        Raises:
            CheckpointError: not a LoRA, or one of another model; says what it is.
            OfflineError: it must be downloaded and cannot be.
        """
        read = read_lora(asked.name, _files_of(asked.name, offline), base)
        embeddings = tuple(
            Embedding.of(f"{asked.name} ({word})", tensors, base, word=word)
            for word, tensors in read.words.items()
        )
        return cls(asked=asked, updates=read.updates, embeddings=embeddings)


@torch.no_grad()
def attach_loras(loras: Sequence[Lora], base: BaseModel) -> None:
    """Put LoRAs into a base model; together they add up, each with its weight."""
    for part in PARTS:
        changes: dict[str, list[tuple[float, Update]]] = {}
        for lora in loras:
            for path, update in lora.updates.get(part, {}).items():
                if lora.asked.weight:
                    changes.setdefault(path, []).append((lora.asked.weight, update))
        for path, found in changes.items():
            layer: Any = getattr(base, part).get_submodule(path)
            before = layer.weight.float()
            _add(layer.weight, [(weight, update.weight(before)) for weight, update in found])
            if (bias := getattr(layer, "bias", None)) is not None:
                before = bias.float()
                _add(bias, [(weight, update.bias(before)) for weight, update in found])


def _add(parameter: torch.Tensor, changes: Sequence[tuple[float, torch.Tensor | None]]) -> None:
    """Add weighted changes to a parameter, rounded once."""
    total = [weight * change for weight, change in changes if change is not None]
    if total:
        parameter.copy_(parameter.float() + sum(total))


def _files_of(name: str, offline: bool) -> dict[str, Path]:
    """The files that are named, by the part of the base that they are for; "": it is in them."""
    path = Path(name)
    if not path.exists():
        # peft's file says too little without the config beside it.
        place = re.sub(r"/adapter_model\.(safetensors|bin)$", "", name)
        path = fetch_files(place, _choose, offline=offline)
    if not path.is_dir():
        return {"": path}
    inside = sorted(
        one.relative_to(path).as_posix()
        for one in (*path.glob("*"), *path.glob("*/*"))
        if one.is_file()
    )
    chosen = [file for file in _choose(inside) if not file.endswith(PEFT_CONFIG)]
    if not chosen:
        raise CheckpointError(
            f"{name}: expected one LoRA in it, such as {STANDARD_FILES[0]}; name the file"
        )
    return {file.rpartition("/")[0]: path / file for file in chosen}


def _choose(files: Collection[str]) -> list[str]:
    """What diffusers or peft writes, with its config; else the only file of weights there is.

    peft's example of DreamBooth writes one folder for each part of the model.
    """
    for standard in STANDARD_FILES:
        if standard in files:
            return [standard, *(file for file in files if file == PEFT_CONFIG)]
    parts = {f"{part}/{name}" for part in PARTS for name in (PEFT_CONFIG, PEFT_FILE)}
    if parts & set(files):
        return sorted(parts & set(files))
    for endings in ((".safetensors",), PICKLE_SUFFIXES):
        weights = [file for file in files if file.endswith(endings) and "/" not in file]
        if weights:
            return weights if len(weights) == 1 else []
    return []
