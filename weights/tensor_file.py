"""A file of named tensors, looked at before it is read.

safetensors files and zip-format PyTorch files are memory-mapped: taking 280 gates out of a 4 GB
checkpoint reads the gates. Writers go through a temporary file, so nothing is left half-written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from grounding.errors import CheckpointError
from grounding.files import write_files
from weights.hub_cache import name_cure
from weights.pickles import read_pickle

__all__ = ["PICKLE_SUFFIXES", "TensorFile", "write_safetensors"]

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")


class TensorFile:
    """The names and shapes of the tensors in a checkpoint, and the tensors on request.

    Attributes:
        path: Where the checkpoint is.
        shapes: Name -> shape of every tensor. In a pickle with several state dicts (official
            GLIGEN: `model`, `autoencoder`, ...) the names begin with the state dict's name.
        extra: What else a pickle holds: configuration, counters. Empty for safetensors.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.extra: dict[str, Any] = {}
        self._tensors: dict[str, torch.Tensor] = {}
        self._homes: dict[str, Path] = {}
        if self.path.name.endswith(".json"):  # an index of shards
            for shard in self._shards():
                self._open(shard)
        else:
            self._open(self.path)

    def __getitem__(self, key: str) -> torch.Tensor:
        """Read one tensor, on the CPU, in the type it is stored in."""
        return self.read([key])[key]

    def read(self, keys: Iterable[str] | None = None) -> dict[str, torch.Tensor]:
        """Read the named tensors (all of them by default), as stored."""
        wanted = list(self.shapes if keys is None else keys)
        found = {key: self._tensors[key] for key in wanted if key in self._tensors}
        for home in {self._homes[key] for key in wanted if key in self._homes}:
            with safe_open(home, framework="pt", device="cpu") as file:
                mine = [key for key in wanted if self._homes.get(key) == home]
                found.update({key: file.get_tensor(key) for key in mine})
        return {key: found[key] for key in wanted}

    def _shards(self) -> list[Path]:
        try:
            names = set(json.loads(self.path.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{self.path}: not an index of a sharded checkpoint") from error
        return [self.path.parent / Path(name).name for name in sorted(names)]

    def _open(self, path: Path) -> None:
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file")
        if path.suffix == ".safetensors":
            try:
                with safe_open(path, framework="pt", device="cpu") as file:
                    for key in file.keys():  # noqa: SIM118  (safe_open is no mapping)
                        self.shapes[key] = tuple(file.get_slice(key).get_shape())
                        self._homes[key] = path
            except (SafetensorError, OSError) as error:
                raise CheckpointError(
                    f"{path}: not a complete safetensors file ({error}): {name_cure(path)}"
                ) from error
        elif path.suffix in PICKLE_SUFFIXES:
            self._collect(read_pickle(path), "")
        else:
            raise CheckpointError(
                f"{path}: expected .safetensors or {', '.join(PICKLE_SUFFIXES)}, "
                f"got {path.suffix or 'no suffix'}"
            )

    def _collect(self, value: Any, prefix: str) -> None:
        if not isinstance(value, Mapping):
            raise CheckpointError(
                f"{self.path}: expected a dict of tensors, got {type(value).__name__}"
            )
        for name, item in value.items():
            key = f"{prefix}{name}"
            if isinstance(item, torch.Tensor):
                self.shapes[key] = tuple(item.shape)
                self._tensors[key] = item.detach()
            elif isinstance(item, Mapping) and not prefix:
                if any(isinstance(inner, torch.Tensor) for inner in item.values()):
                    # Lightning's .ckpt files wrap everything in "state_dict": no part of a name.
                    self._collect(item, "" if key == "state_dict" else f"{key}.")
                else:
                    self.extra[key] = item
            else:
                self.extra[key] = item


def write_safetensors(
    state: Mapping[str, torch.Tensor], path: str | Path, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write tensors as they are (type, shape, bits) to a safetensors file, all or nothing."""
    ready, taken = {}, set()
    for key, value in state.items():
        tensor = value.detach().to("cpu").contiguous()
        # safetensors wants every tensor to own its bytes: no views, nothing stored twice.
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.nbytes or storage.data_ptr() in taken:
            tensor = tensor.clone()
        taken.add(tensor.untyped_storage().data_ptr())
        ready[key] = tensor
    notes = {"format": "pt", **(metadata or {})}

    def write(partial: Path) -> None:
        try:
            save_file(ready, partial, metadata=notes)
        except SafetensorError as error:
            raise OSError(str(error)) from error

    write_files({Path(path): write})
    return Path(path)
