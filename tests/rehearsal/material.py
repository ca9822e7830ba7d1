"""Random parameters that depend on their names alone, written one after the other.

The same model in two layouts has the same parameters, so what is drawn with them must be the same.
"""

import json
import math
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = ["Entry", "entries", "map_tensors", "write_stream"]

BLOCK = 1 << 20  # random numbers; parameters are cut out of their repetition
SAFETENSORS = {torch.float32: "F32", torch.float16: "F16", torch.int64: "I64"}
NUMPY = {"F32": np.float32, "F16": np.float16, "I64": np.int64}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A tensor that is to be written, and made only then."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]

    def named(self, name: str) -> "Entry":
        """The same by another name."""
        return Entry(name=name, shape=self.shape, dtype=self.dtype, make=self.make)

    def shaped(self, *shape: int) -> "Entry":
        """The same in another shape."""
        make = self.make
        return Entry(
            name=self.name, shape=shape, dtype=self.dtype, make=lambda: make().reshape(shape)
        )


@cache
def block() -> Tensor:
    return torch.randn(BLOCK, generator=torch.Generator().manual_seed(0))


def parameter(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Numbers of a size that keeps what a network says finite."""
    count, start = math.prod(shape), zlib.crc32(name.encode()) % BLOCK
    numbers = block().repeat((start + count) // BLOCK + 1)[start : start + count].reshape(shape)
    if len(shape) < 2:
        if name.endswith("weight"):  # of a norm
            return (1 + 0.1 * numbers).to(dtype)
        return (0.02 * numbers).to(dtype)
    spread = 0.02 if "embed" in name else math.prod(shape[1:]) ** -0.5
    return (spread * numbers).to(dtype)


def entries(model: torch.nn.Module, dtype: torch.dtype, kind: str) -> dict[str, Entry]:
    """Entries for the parameters of a model, which may be on the meta device.

    Args:
        model: Whose names and shapes.
        dtype: Of the entries.
        kind: What the model is, so that two models differ.
    """

    def entry(name: str, shape: tuple[int, ...]) -> Entry:
        make = lambda: parameter(f"{kind}.{name}", shape, dtype)  # noqa: E731
        return Entry(name=name, shape=shape, dtype=dtype, make=make)

    return {name: entry(name, tuple(value.shape)) for name, value in model.state_dict().items()}


def write_stream(path: Path, written: Iterable[Entry]) -> Path:
    """Write a safetensors file, holding one tensor at a time."""
    written = list(written)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for one in written:
        size = math.prod(one.shape) * one.dtype.itemsize
        header[one.name] = {
            "dtype": SAFETENSORS[one.dtype],
            "shape": list(one.shape),
            "data_offsets": [end, end + size],
        }
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for one in written:
            file.write(one.make().contiguous().numpy().data)
    return path


def map_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, each a mapping of its own: torch.save holds none of them."""  # noqa: E501
    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header: Mapping = json.loads(file.read(length))
    found = {}
    for name, said in header.items():
        if name == "__metadata__":
            continue
        begin, end = said["data_offsets"]
        kind = np.dtype(NUMPY[said["dtype"]])
        count = (end - begin) // kind.itemsize
        array = np.memmap(path, kind, "r+", offset=8 + length + begin, shape=(count,))
        found[name] = torch.from_numpy(array).reshape(said["shape"])
    return found
