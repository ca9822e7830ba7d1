"""Weighted: a file or hub id, and how strongly it counts, as people write it: FILE=0.8."""

from __future__ import annotations

import math
from dataclasses import dataclass

from grounding.errors import PromptError

__all__ = ["Weighted"]


@dataclass(frozen=True)
class Weighted:
    """A name with a weight.

    Attributes:
        name: path or hub id.
        weight: any finite number; 0 is nothing, 1 what it was trained for.
    """

    name: str
    weight: float = 1.0

    @classmethod
    def parse(cls, text: object) -> Weighted:
        """Read NAME or NAME=WEIGHT; what follows the last "=" is a weight if it is a number.

        Raises:
            PromptError: there is no name, or the weight is not finite.
        """
        name, equals, number = str(text).rpartition("=")
        try:
            weight = float(number) if equals else 1.0
        except ValueError:  # a file whose name holds "="
            name, weight = str(text), 1.0
        name = name if equals else str(text)
        if not name or not math.isfinite(weight):
            raise PromptError(
                f"expected FILE or FILE=WEIGHT with a number such as 0.8, got {str(text)!r}"
            )
        return cls(name, weight)

    def __str__(self) -> str:
        return f"{self.name}={self.weight!r}"
