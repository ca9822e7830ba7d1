"""Part: one model inside a single-file checkpoint, its config and where its parameters are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from grounding.errors import CheckpointError
from weights.tensor_file import TensorFile

__all__ = ["Part", "Shapes", "numbered", "size_of"]

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One model in a checkpoint.

    Attributes:
        config: Keyword arguments of its diffusers or transformers config.
        names: Key in the file -> key in the model.
        fused: Key in the file -> keys in the model of what lies one after the other in it.
        turned: Key in the file -> key in the model of matrices that are stored transposed.
    """

    config: dict[str, Any]
    names: dict[str, str]
    fused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    turned: dict[str, str] = field(default_factory=dict)

    def keyed(self, keys: Mapping[str, str]) -> Part:
        """The same part of a file whose keys are others: `keys` says which for which."""

        def placed(table: Mapping[str, Any]) -> dict[str, Any]:
            return {keys[key]: value for key, value in table.items()}

        return Part(
            config=self.config,
            names=placed(self.names),
            fused=placed(self.fused),
            turned=placed(self.turned),
        )

    def read(self, file: TensorFile) -> dict[str, Tensor]:
        """Read the model's parameters, under its own names.

        Raises:
            CheckpointError: What should hold several matrices cannot be divided so.
        """
        stored = file.read((*self.names, *self.fused, *self.turned))
        state = {name: stored[key] for key, name in self.names.items()}
        state |= {name: stored[key].T.contiguous() for key, name in self.turned.items()}
        for key, names in self.fused.items():
            if stored[key].shape[0] % len(names):
                raise CheckpointError(
                    f"{file.path}: {key} has {stored[key].shape[0]} rows, expected a multiple of "
                    f"{len(names)}"
                )
            state |= zip(names, stored[key].chunk(len(names)), strict=True)
        return state


def size_of(shapes: Shapes, key: str, axis: int, source: str) -> int:
    """One size of a tensor that must be there.

    Raises:
        CheckpointError: It is not.
    """
    if key not in shapes or len(shapes[key]) <= axis:
        raise CheckpointError(f"{source}: missing {key}")
    return shapes[key][axis]


def numbered(keys: Iterable[str], head: str) -> int:
    """How many modules of a list are named: `head` is what stands before their numbers."""
    return len({key[len(head) :].split(".")[0] for key in keys if key.startswith(head)})
