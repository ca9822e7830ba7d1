"""Where the numbers of a training run go: always a JSONL file, TensorBoard and W&B if wished.

A run that is resumed tells some steps twice; what was told of steps after its checkpoint is taken
back first, so that a file reads like that of a run that was never killed.
"""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from grounding.errors import LavallamaError, OutputError
from grounding.files import write_files

__all__ = ["LOG", "JsonLines", "TensorBoard", "WeightsAndBiases", "Writer", "has_tensorboard"]

LOG = "log.jsonl"
DIGITS = 6  # significant ones


class Writer(Protocol):
    """Somewhere that numbers and pictures of a run are shown."""

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Tell the numbers of a step."""
        ...

    def picture(self, step: int, path: Path) -> None:
        """Show the sample grid of a step."""
        ...

    def close(self) -> None:
        """Finish writing."""
        ...


class JsonLines:
    """One line of JSON a step in ``log.jsonl``.

    Args:
        folder: Of the run.
        start: Lines of later steps are removed: the run goes on from here.
    """

    def __init__(self, folder: Path, start: int) -> None:
        self.path = folder / LOG
        if not self.path.exists():
            return
        lines = self.path.read_text("utf-8").splitlines()
        kept = [line for line in lines if (step := _step(line)) is not None and step <= start]
        if len(kept) < len(lines):
            write_files({self.path: "".join(f"{line}\n" for line in kept).encode()})

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Append a line.

        Raises:
            OutputError: it cannot be written.
        """
        rounded = {name: float(f"{value:.{DIGITS}g}") for name, value in values.items()}
        try:
            with self.path.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"step": step, **rounded}) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {str(error.strerror).lower()}") from None

    def picture(self, step: int, path: Path) -> None:
        """Nothing: the picture is in the folder."""

    def close(self) -> None:
        """Nothing: every line is written at once."""


class TensorBoard:
    """Event files for TensorBoard.

    Args:
        folder: Of the run; they go to ``tensorboard/``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tensorboard"
        self._writer: Any = None

    def _open(self, step: int) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder), purge_step=step)
        return self._writer

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar a number."""
        writer = self._open(step)
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def picture(self, step: int, path: Path) -> None:
        """The grid as an image."""
        import numpy as np

        from grounding.picture_file import open_picture

        pixels = np.array(open_picture(path))
        self._open(step).add_image("samples", pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases:
    """A run at Weights & Biases, or in its offline folder.

    Args:
        folder: Of the run; its path is the run's identity, so that a resumed run goes on there.
        project: The project's name.

    Raises:
        LavallamaError: the library is not installed.
    """

    def __init__(self, folder: Path, project: str) -> None:
        if importlib.util.find_spec("wandb") is None:
            raise LavallamaError("wandb is not installed; pip install wandb, or leave it out")
        wandb: Any = importlib.import_module("wandb")
        name = "-".join(folder.absolute().parts[-3:])
        self._wandb = wandb
        self._run = wandb.init(project=project, id=name, name=name, dir=folder, resume="allow")

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar a number."""
        self._run.log(dict(values), step=step)

    def picture(self, step: int, path: Path) -> None:
        """The grid as an image."""
        self._run.log({"samples": self._wandb.Image(str(path))}, step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def has_tensorboard() -> bool:
    """Whether TensorBoard's files can be written here."""
    return importlib.util.find_spec("tensorboard") is not None


def _step(line: str) -> int | None:
    """The step of a line; None if it was cut off while it was written."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return None
