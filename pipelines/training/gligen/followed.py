"""Whether boxes are followed, in words: what the loss does not tell.

The same batch's error with its own boxes is compared with that with another picture's, at each line
of the log. If boxes meant nothing, each would be the lower one half of the time.
"""

import math
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

__all__ = ["Followed"]

LAST = 20  # comparisons that count
CHANCE = 0.05  # that boxes which mean nothing do as well: the usual level of a test
MEASURED = "held_out/"


class Followed:
    """Says at each grid of samples, and at the end, whether boxes count."""

    def __init__(self) -> None:
        self._helped: deque[bool] = deque(maxlen=LAST)
        self._measured: dict[str, tuple[float, float]] = {}
        self._said = ""

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Take note of the errors, and of what was measured on held-out layouts."""
        if {"with_boxes", "without_boxes", "shuffled_boxes"} <= values.keys():
            own, others = values["with_boxes"], values["shuffled_boxes"]
            if own == others:  # a batch of one picture has no other's, closed gates see none
                others = values["without_boxes"]
            self._helped.append(own < others)
        for name, value in values.items():
            if name.startswith(MEASURED):
                first, _ = self._measured.get(name, (value, value))
                self._measured[name] = first, value

    def picture(self, step: int, path: Path) -> None:
        """Say it."""
        self._say()

    def close(self) -> None:
        """Say it."""
        self._say()

    def sentence(self) -> str:
        """Whether boxes are followed, and by what one sees it; "" if nothing tells."""
        tried, helped = len(self._helped), sum(self._helped)
        if not tried:
            return ""
        seen = f"a picture's own boxes help in {helped} of the last {tried} probes"
        if _chance(helped, tried) < CHANCE:
            said = f"boxes followed: they count ({seen})"
        elif 0.5**tried >= CHANCE:
            said = f"boxes followed: too early to tell ({seen})"
        else:
            said = f"boxes followed: not yet ({seen}); train on"
        shares = ", ".join(
            f"{name.removeprefix(MEASURED).replace('_', ' ')} {last:.2f} (first {first:.2f})"
            for name, (first, last) in self._measured.items()
        )
        return f"{said}; held-out {shares}" if shares else said

    def _say(self) -> None:
        said = self.sentence()
        if said and said != self._said:  # the last grid may be the end
            tqdm.write(said)
        self._said = said


def _chance(helped: int, tried: int) -> float:
    """That at least so many of fair coins fall on one side."""
    return sum(math.comb(tried, k) for k in range(helped, tried + 1)) / 2**tried
