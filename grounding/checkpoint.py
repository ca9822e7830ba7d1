"""Checkpoints of a training run: written whole or not at all, the last ones kept, and the best.

checkpoint.pt             where the run goes on
checkpoints/0000500.pt    the last ones, if more than one is to be kept
best.pt                   the one whose measured number was the highest, if one is measured
"""

import os
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from grounding.errors import CheckpointError
from grounding.files import write_files

__all__ = [
    "BEST",
    "EARLIER",
    "LAST",
    "Checkpoints",
    "check_fit",
    "load_trained",
    "read_checkpoint",
    "trained_tensors",
]

LAST, BEST, EARLIER = "checkpoint.pt", "best.pt", "checkpoints"
MEASURED = "measured"  # in the best one: the number that made it so


class Checkpoints:
    """The checkpoints in a run's folder.

    Args:
        folder: Of the run; it exists.
        keep: How many of the last ones stay; 0: the very last alone, as ``checkpoint.pt``.
    """

    def __init__(self, folder: Path, keep: int = 0) -> None:
        self.folder, self.keep = folder, keep
        self._best: float | None = None

    def read(self) -> dict[str, Any] | None:
        """The state to go on with; None before the first checkpoint.

        Raises:
            CheckpointError: it is damaged.
        """
        path = self.folder / LAST
        return read_checkpoint(path) if path.exists() else None

    def save(self, state: dict[str, Any]) -> None:
        """Write the state that the run goes on with; `state["step"]` says how far it is.

        Raises:
            OutputError: it cannot be written (a full disk, say); the one before it stays.
        """
        if not self.keep:
            _write(state, self.folder / LAST)
            return
        earlier = self.folder / EARLIER
        path = earlier / f"{state['step']:07d}.pt"
        _write(state, path)
        write_files({self.folder / LAST: lambda part: _share(path, part)})
        for old in sorted(earlier.glob("*.pt"))[: -self.keep]:
            old.unlink()

    def offer(self, state: dict[str, Any], measured: float) -> None:
        """Write the state as the best one if no earlier one measured as much.

        Raises:
            OutputError: it cannot be written.
        """
        path = self.folder / BEST
        if self._best is None and path.exists():
            self._best = read_checkpoint(path)[MEASURED]
        if self._best is None or measured > self._best:
            self._best = measured
            _write(state | {MEASURED: measured}, path)


def read_checkpoint(path: Path, device: str | None = None) -> dict[str, Any]:
    """Read a checkpoint of ours.

    Args:
        path: Of the file.
        device: Where its tensors go; None: where they were.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; train first")
    try:
        state = torch.load(path, weights_only=True, map_location=device)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0][:160]
        raise CheckpointError(
            f"{path}: damaged ({reason}); put an earlier one in its place, of {EARLIER}/, or "
            "delete it"
        ) from None
    if not isinstance(state, dict) or "step" not in state:
        raise CheckpointError(f"{path}: is no checkpoint of a training run")
    return state


def trained_tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a checkpoint's run has trained: the moving average if one is kept."""
    return state.get("average") or state["parameters"]


def check_fit(found: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Check that a checkpoint has the tensors that a model trains.

    Args:
        found: Of the checkpoint, by name.
        wanted: The model's, by name.
        path: Of the checkpoint.

    Raises:
        CheckpointError: names or shapes differ, in one line.
    """
    for name in (*wanted, *found):
        ours, theirs = (
            "none" if tensors.get(name) is None else "x".join(map(str, tensors[name].shape)) or "1"
            for tensors in (wanted, found)
        )
        if ours != theirs:
            raise CheckpointError(
                f"{path} is of another model, or of one of which other parts are trained: {name} "
                f"is {theirs} in it, and {ours} is asked for; go on with the options that it was "
                "begun with, or name another folder with --runs"
            )


def load_trained(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load what a run trained of a model; what it left alone stays as it is.

    Args:
        module: The model.
        tensors: By the names that the model has for them.
        path: Of the checkpoint that they are from.

    Raises:
        CheckpointError: they are another model's.
    """
    own = module.state_dict()
    check_fit(tensors, {name: own.get(name) for name in tensors}, path)
    module.load_state_dict(tensors, strict=False)


def _write(state: dict[str, Any], path: Path) -> None:
    write_files({path: lambda part: torch.save(state, part)})


def _share(path: Path, other: Path) -> None:
    """Let another name stand for the same file, or a copy where a disk knows no links."""
    other.unlink()
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)
