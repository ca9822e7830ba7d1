"""Files that cannot be read, of data that is trained on: looked for first, then passed over.

In the place of what cannot be read comes the next that can, whether it was found at the start or
breaks in the middle: a run that goes on after a kill draws the same as one that never was.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from grounding.drops import Dropped, Drops
from grounding.errors import LavallamaError, PromptError

__all__ = ["Broken"]

UNREADABLE = "cannot be read"
MOST_TRIES = 100  # neighbours in the place of one that cannot be read

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass
class Broken:
    """What of numbered data cannot be read.

    Attributes:
        strict: Whether the first that cannot be read ends it all.
        report: Where all of it is named, a line each; None: nowhere.
        drops: Counts and names.
    """

    strict: bool = False
    report: Path | None = None
    drops: Drops = field(default_factory=Drops)
    _known: set[int] = field(default_factory=set, init=False)

    def check(
        self,
        data: object,
        names: Sequence[str],
        look: Callable[[int], object],
        *,
        among: Sequence[int] | None = None,
    ) -> None:
        """Look at everything before the first step; what cannot be read is told.

        Args:
            data: For messages.
            names: Of all, by their numbers.
            look: Raises a `LavallamaError` for a number that cannot be read.
            among: The numbers that have files; default: all.

        Raises:
            PromptError: nothing can be read; or, if strict, not everything can.
        """
        numbers = range(len(names)) if among is None else among
        for number in tqdm(numbers, "looking at the data", disable=None, leave=False):
            try:
                look(number)
            except LavallamaError as error:
                self._note(number, names[number], error)
        if self.strict:
            self.drops.refuse(data)
        if numbers and len(self._known) == len(numbers):
            raise PromptError(
                f"{data}: none of its {len(numbers)} pictures can be read; the first: "
                f"{self.drops.named[UNREADABLE][0]}"
            )
        self._write()
        for line in self.drops.losses():
            log.warning("%s: %s", data, line)

    def read(self, number: int, names: Sequence[str], read: Callable[[int], T]) -> tuple[int, T]:
        """Read something, or the next that can be read.

        Args:
            number: Of what is read.
            names: Of all, by their numbers.
            read: Raises a `LavallamaError` for a number that cannot be read.

        Returns:
            The number of what was read, and what it is.

        Raises:
            LavallamaError: neither it nor its neighbours can be read; or, if strict, it cannot.
        """
        first: LavallamaError | None = None
        for step in range(min(len(names), MOST_TRIES)):
            here = (number + step) % len(names)
            try:
                return here, read(here)
            except LavallamaError as error:
                first = first or error
                if self.strict:
                    break
                if here not in self._known:
                    self._note(here, names[here], error)
                    log.warning("passed over from here on: %s", error)
                    self._write()
        raise first or PromptError("there is nothing to read")

    def _note(self, number: int, name: str, error: LavallamaError) -> None:
        self._known.add(number)
        self.drops.picture(name, Dropped(UNREADABLE, str(error)))

    def _write(self) -> None:
        if self.report is not None:
            self.drops.write(self.report)
