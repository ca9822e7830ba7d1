"""A file of named tensors, looked at before it is read.

safetensors files and zip-format PyTorch files are memory-mapped: taking 280 gates out of a 4 GB
checkpoint reads the gates. Writers go through a temporary file, so nothing is left half-written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from grounding.errors import CheckpointError
from grounding.files import write_files
from weights.hub_cache import name_cure
from weights.pickles import read_pickle

__all__ = ["PICKLE_SUFFIXES", "TensorFile", "write_safetensors"]

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
PARALLEL = "module."  # torch.nn.parallel.DistributedDataParallel, before all names
COMPILED = re.compile(r"(?<![^.])_orig_mod\.")  # torch.compile, wherever a compiled module stands
# State dicts of what trains, not of a model; tensors in them are no parameters.
TRAINER = frozenset(
    ("callbacks", "loops", "lr_scheduler", "lr_schedulers", "opt", "optimizer")
    + ("optimizer_state_dict", "optimizer_states", "optimizers", "scheduler")
)


class TensorFile:
    """The names and shapes of the tensors in a checkpoint, and the tensors on request.

    Attributes:
        path: Where the checkpoint is.
        shapes: Name -> shape of every tensor. In a pickle with several state dicts (official
            GLIGEN: `model`, `autoencoder`, ...) the names begin with the state dict's name. What
            wrappers put into names is taken out of them: `_orig_mod` (torch.compile), and `module`
            before all of them (data-parallel training).
        extra: What else a pickle holds: configuration, counters. Empty for safetensors.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.extra: dict[str, Any] = {}
        self._tensors: dict[str, Tensor] = {}
        self._homes: dict[str, tuple[Path, str]] = {}
        if self.path.name.endswith(".json"):  # an index of shards
            for shard in self._shards():
                self._open(shard)
        else:
            self._open(self.path)

    def __getitem__(self, key: str) -> Tensor:
        """Read one tensor, on the CPU, in the type it is stored in."""
        return self.read([key])[key]

    def read(self, keys: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Read the named tensors (all of them by default), as stored."""
        wanted = list(self.shapes if keys is None else keys)
        found = {key: self._tensors[key] for key in wanted if key in self._tensors}
        homes = {key: self._homes[key] for key in wanted if key in self._homes}
        for home in {path for path, _ in homes.values()}:
            with safe_open(home, framework="pt", device="cpu") as file:
                mine = {key: stored for key, (path, stored) in homes.items() if path == home}
                found.update({key: file.get_tensor(stored) for key, stored in mine.items()})
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
                    for key, stored in self._unwrapped(file.keys()).items():
                        self._add(key, file.get_slice(stored).get_shape())
                        self._homes[key] = path, stored
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
        tensors = {str(name): item for name, item in value.items() if isinstance(item, Tensor)}
        for name, stored in self._unwrapped(tensors).items():
            self._add(f"{prefix}{name}", tensors[stored].shape)
            self._tensors[f"{prefix}{name}"] = tensors[stored].detach()
        for name, item in value.items():
            if isinstance(item, Tensor):
                continue
            if name not in TRAINER and _is_state_dict(item, nested=bool(prefix)):
                # Lightning's .ckpt files wrap everything in "state_dict": no part of a name.
                self._collect(item, prefix if name == "state_dict" else f"{prefix}{name}.")
            else:
                self.extra[f"{prefix}{name}"] = item

    def _add(self, key: str, shape: Sequence[int]) -> None:
        if key in self.shapes:
            raise CheckpointError(f"{self.path}: two parameters are called {key}")
        self.shapes[key] = tuple(shape)

    def _unwrapped(self, names: Iterable[str]) -> dict[str, str]:
        """Names of a state dict without what wrappers put into them -> names as stored.

        Raises:
            CheckpointError: Two would have the same name.
        """
        stored = list(names)
        parallel = bool(stored) and all(name.startswith(PARALLEL) for name in stored)
        found: dict[str, str] = {}
        for name in stored:
            inner = name.removeprefix(PARALLEL) if parallel else name
            inner = COMPILED.sub("", inner)
            if inner in found:
                raise CheckpointError(
                    f"{self.path}: {found[inner]} and {name} are the same parameter: keep one"
                )
            found[inner] = name
        return found


def _is_state_dict(value: Any, *, nested: bool) -> bool:
    """Whether a value holds parameters: all of it where it is nested, else some, or such dicts."""
    if not isinstance(value, Mapping) or not value:
        return False
    if all(isinstance(item, Tensor) for item in value.values()):
        return all(isinstance(name, str) for name in value)
    if nested:
        return False
    return any(
        isinstance(item, Tensor) or (name not in TRAINER and _is_state_dict(item, nested=True))
        for name, item in value.items()
    )


def write_safetensors(
    state: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str] | None = None
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
