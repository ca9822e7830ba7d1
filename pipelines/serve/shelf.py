"""What the server keeps for clients: bounded in number, memory and idle time."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipelines.serve.refusal import Refusal
from pipelines.serve.settings import MIB

__all__ = ["Shelf"]

T = TypeVar("T")
FRESH_S = 10.0  # in which a client comes back for what it has just left
ID_BYTES = 16  # of randomness: nobody guesses another's id


@dataclass
class _Place(Generic[T]):
    item: T
    used: float
    asked: bool = False


class Shelf(Generic[T]):
    """Things by unguessable ids; the least recently used ones make room for new ones.

    Where that one has only just come and was not used yet, a new one is told to come back: else
    many clients at one time would push out what each of them is about to use.

    Belongs to one thread, that of the event loop.
    """

    def __init__(
        self,
        what: str,
        *,
        count: int,
        size: int,
        idle_s: float,
        weigh: Callable[[T], int],
        removed: Callable[[str], None] | None = None,
        fresh_s: float = FRESH_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put up an empty shelf.

        Args:
            what: Name of one thing, such as "image"; opens its id and stands in messages.
            count: Most things.
            size: Most bytes.
            idle_s: Seconds after which an unused thing is dropped.
            weigh: Bytes of a thing now; it may grow.
            removed: Told the id of each thing that left.
            fresh_s: Seconds in which an unused thing makes no room.
            clock: Seconds.
        """
        self.what, self.count, self.size, self.idle_s = what, count, size, idle_s
        self.dropped, self.fresh_s = 0, fresh_s
        self._weigh, self._removed, self._clock = weigh, removed, clock
        self._places: OrderedDict[str, _Place[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    @property
    def bytes(self) -> int:
        """What all things weigh now."""
        return sum(self._weigh(place.item) for place in self._places.values())

    def put(self, item: T) -> str:
        """Keep a thing; returns its id.

        Raises:
            Refusal: it would not fit if it were alone, or there is no room at this time.
        """
        self.check_room()
        weight = self._weigh(item)
        if weight > self.size:
            raise Refusal(
                413,
                f"this {self.what} takes {weight / MIB:.1f} MiB of memory, all may take "
                f"{self.size / MIB:.1f} MiB together; start the server with a larger cache",
            )
        name = f"{self.what}_{secrets.token_urlsafe(ID_BYTES)}"
        self._places[name] = _Place(item, self._clock())
        self.tidy()
        return name

    def check_room(self) -> None:
        """Refuse new things while those that would make room for them were not used yet.

        Raises:
            Refusal: there is no room at this time.
        """
        self.tidy()
        oldest = next(iter(self._places.values()), None)
        if len(self) < self.count or oldest is None or oldest.asked:
            return
        if self._clock() - oldest.used < self.fresh_s:
            raise Refusal(503, f"there is no room for another {self.what}; come back in a moment")

    def get(self, name: str) -> T:
        """The thing of that id, which counts as used now.

        Raises:
            Refusal: there is none (any more).
        """
        self.tidy()
        if name not in self._places:
            raise Refusal(
                404,
                f"there is no such {self.what}: its id is wrong, or it was deleted, unused for "
                f"{self.idle_s:g} s, made room for others, or the server was started anew; make it "
                "anew",
            )
        place = self._places[name]
        place.used, place.asked = self._clock(), True
        self._places.move_to_end(name)
        return place.item

    def drop(self, name: str) -> None:
        """Forget a thing; unknown ids are ignored."""
        if self._places.pop(name, None) is not None and self._removed is not None:
            self._removed(name)

    def drop_where(self, test: Callable[[T], bool]) -> None:
        """Forget all things that pass a test."""
        for name in [name for name, place in self._places.items() if test(place.item)]:
            self.drop(name)

    def tidy(self) -> None:
        """Forget what is idle for too long, then the least recently used until the rest fits."""
        now = self._clock()
        while self._places:
            name, place = next(iter(self._places.items()))
            idle = now - place.used >= self.idle_s
            crowded = len(self) > self.count or (len(self) > 1 and self.bytes > self.size)
            if not (idle or crowded):
                return
            self.dropped += 1
            self.drop(name)
