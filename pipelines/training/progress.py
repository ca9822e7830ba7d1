"""Progress: what a run tells where nobody sees a bar: in a file, or to another program."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

from grounding.telemetry import Writer

__all__ = ["Progress", "duration", "progress"]

SECONDS = 30.0  # between two lines


class Progress:
    """Prints a line on stderr now and then, with the time that is left.

    Args:
        steps: Of the whole run.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._began: tuple[int, float] | None = None
        self._last = -float("inf")

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Tell the step, the loss, and the time left."""
        now = time.monotonic()
        if "loss" not in values:
            return
        if self._began is None:
            self._began = step, now
        if now - self._last < SECONDS and step < self.steps:
            return
        self._last = now
        taken, elapsed = step - self._began[0], now - self._began[1]
        left = f", {duration(elapsed / taken * (self.steps - step))} left" if taken else ""
        line = f"step {step} of {self.steps}: loss {values['loss']:.4f}{left}"
        print(line, file=sys.stderr, flush=True)

    def picture(self, step: int, path: Path) -> None:
        """Tell where a grid of samples is, if one was drawn."""
        if path.exists():
            print(f"step {step} of {self.steps}: {path}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing: every line is printed at once."""


def progress(steps: int, *, is_main: bool = True) -> list[Writer]:
    """The writer of a run; none where a progress bar is seen, or another process has it."""
    return [] if sys.stderr.isatty() or not is_main else [Progress(steps)]


def duration(seconds: float) -> str:
    """Seconds as people say them: "2 h 5 min", "4 min", "30 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
