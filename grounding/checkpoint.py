"""Checkpoints of a training run: written whole or not at all, the last ones kept, and the best.

checkpoint.pt             where the run goes on
checkpoints/0000500.pt    the last ones, if more than one is to be kept
best.pt                   the one whose measured number was the highest, if one is measured
"""

import os
import shutil
from pathlib import Path
from typing import Any

import torch

__all__ = ["BEST", "EARLIER", "LAST", "Checkpoints"]

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
        """The state to go on with; None before the first checkpoint."""
        path = self.folder / LAST
        return torch.load(path, weights_only=True) if path.exists() else None

    def save(self, state: dict[str, Any]) -> None:
        """Write the state that the run goes on with; `state["step"]` says how far it is."""
        if not self.keep:
            _write(state, self.folder / LAST)
            return
        earlier = self.folder / EARLIER
        earlier.mkdir(exist_ok=True)
        path = earlier / f"{state['step']:07d}.pt"
        _write(state, path)
        _share(path, self.folder / LAST)
        for old in sorted(earlier.glob("*.pt"))[: -self.keep]:
            old.unlink()

    def offer(self, state: dict[str, Any], measured: float) -> None:
        """Write the state as the best one if no earlier one measured as much."""
        path = self.folder / BEST
        if self._best is None and path.exists():
            self._best = torch.load(path, weights_only=True)[MEASURED]
        if self._best is None or measured > self._best:
            self._best = measured
            _write(state | {MEASURED: measured}, path)


def _write(state: dict[str, Any], path: Path) -> None:
    unfinished = path.with_name(f"{path.name}.part")
    with unfinished.open("wb") as out:
        torch.save(state, out)
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(path)


def _share(path: Path, other: Path) -> None:
    """Let another name stand for the same file, or a copy where a disk knows no links."""
    unfinished = other.with_name(f"{other.name}.part")
    unfinished.unlink(missing_ok=True)
    try:
        os.link(path, unfinished)
    except OSError:
        shutil.copyfile(path, unfinished)
    unfinished.replace(other)
