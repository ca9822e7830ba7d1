"""The one thread that the model works on: questions wait in line, the event loop stays free."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from pipelines.serve.refusal import Refusal

__all__ = ["Stop", "Worker"]

T = TypeVar("T")


class Stop:
    """Tells work that nobody waits for it any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask the work to stop at its next check."""
        self._event.set()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            Refusal: the client has left, or its time is over.
        """
        if self._event.is_set():
            raise Refusal(504, "stopped: nobody waits for the answer")


class Worker:
    """Runs work one piece after the other, first come, first served.

    An answer therefore never depends on what else is asked, and state that only work touches needs
    no lock. Work whose caller is cancelled before its turn never starts, and leaves nothing behind;
    work that has begun is asked to stop (`Stop`), and the next one waits for its end.
    """

    def __init__(self) -> None:
        self.open()

    def open(self) -> None:
        """Begin, or begin again after `close`."""
        # OpenMP counts threads for each thread that calls it: the worker takes the caller's count.
        self._executor = ThreadPoolExecutor(
            1, "model", initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)
        )
        self._turn = asyncio.Lock()
        self.closed = False

    async def run(self, work: Callable[[Stop], T]) -> T:
        """Do work on the model's thread.

        Raises:
            Refusal: the server is stopping, or out of memory.
        """
        stop = Stop()
        await self._turn.acquire()
        try:
            self._refuse_if_closed()
            future = self._executor.submit(_guarded, work, stop)
        except BaseException:
            self._turn.release()
            raise
        done = asyncio.wrap_future(future)
        done.add_done_callback(self._next)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            stop.set()
            raise

    def close(self) -> None:
        """Let the work that has begun end, and begin no more."""
        self.closed = True
        self._executor.shutdown(wait=True)

    def _next(self, done: "asyncio.Future[T]") -> None:
        self._turn.release()
        if not done.cancelled():
            done.exception()  # seen, also if nobody waits for it

    def _refuse_if_closed(self) -> None:
        if self.closed:
            raise Refusal(503, "the server is stopping; ask again when it is back")


def _guarded(work: Callable[[Stop], T], stop: Stop) -> T:
    try:
        return work(stop)
    except MemoryError:
        raise _no_memory() from None
    except RuntimeError as error:
        said = str(error).lower()
        if "out of memory" in said or "can't allocate memory" in said:
            raise _no_memory() from None
        raise


def _no_memory() -> Refusal:
    return Refusal(503, "out of memory: ask for less at a time, or upload a smaller picture")
