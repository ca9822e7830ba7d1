"""The one thread that the model works on: questions wait in line, the event loop stays free."""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from pipelines.serve.refusal import Refusal

__all__ = ["CLIENT", "Worker", "check_stop"]

T = TypeVar("T")
CLIENT: ContextVar[str] = ContextVar("client", default="")  # whose request is being answered
CLOSE_S = 5.0  # that `close` waits for work that looks at `check_stop`

log = logging.getLogger(__name__)
running = threading.local()  # `stop`: the event that asks what this thread does to stop


def check_stop() -> None:
    """Go on with the work that this thread does, or not; long work calls it between its steps.

    Raises:
        Refusal: the client has left, or its time is over.
    """
    stop: threading.Event | None = getattr(running, "stop", None)
    if stop is not None and stop.is_set():
        raise Refusal(504, "stopped: nobody waits for the answer")


@dataclass(kw_only=True, eq=False)
class _Job:
    """A piece of work, and who waits for it where."""

    client: str
    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[Any]"
    stop: threading.Event = field(default_factory=threading.Event)

    def settle(self, result: Any, error: BaseException | None) -> None:
        """Tell who waits; on the loop's thread."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(result)
        else:
            self.done.set_exception(error)
            self.done.exception()  # seen, also if nobody waits for it


class Worker:
    """Runs work one piece after the other, in turn for each client.

    An answer therefore never depends on what else is asked, and state that only work touches needs
    no lock. Of the clients in line the one is next whose work has taken the least time (start-time
    fair queueing, https://doi.org/10.1145/248157.248171), and of its pieces the oldest: long work
    of one client delays another by one piece of it. Work whose caller is cancelled before its turn
    never starts, and leaves nothing behind; work that has begun is asked to stop (`check_stop`),
    and the next one waits for its end.
    """

    def __init__(self) -> None:
        self.open()

    def open(self) -> None:
        """Begin, or begin again after `close`."""
        self.closed = False
        self._line: list[_Job] = []
        self._job: _Job | None = None
        self._since = self._now = 0.0  # when the job began; the time of the line, in served seconds
        self._served: dict[str, float] = {}
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # OpenMP counts threads for each thread that calls it: the worker takes the caller's count.
        # A daemon: what never ends does not keep the process from ending.
        self._thread = threading.Thread(
            target=self._work, args=(self._jobs, torch.get_num_threads()), name="model", daemon=True
        )
        self._thread.start()

    @property
    def busy_s(self) -> float:
        """Seconds that the piece of work has taken that is being done now; 0: none is."""
        return 0.0 if self._job is None else time.monotonic() - self._since

    @property
    def waiting(self) -> int:
        """Pieces of work in line."""
        return len(self._line)

    async def run(self, work: Callable[[], T]) -> T:
        """Do work on the model's thread.

        Raises:
            Refusal: the server is stopping, or out of memory.
        """
        if self.closed:
            raise _stopping()
        loop = asyncio.get_running_loop()
        job = _Job(client=CLIENT.get(), work=work, loop=loop, done=loop.create_future())
        self._line.append(job)
        self._start_next()
        try:
            return await asyncio.shield(job.done)
        except asyncio.CancelledError:
            job.stop.set()
            if job in self._line:
                self._line.remove(job)
            raise

    def close(self, seconds: float = CLOSE_S) -> bool:
        """Begin no more work, and ask what has begun to stop.

        Args:
            seconds: To wait for its end.

        Returns:
            Whether it has ended; if not, it ends with the process.
        """
        self.closed = True
        line, self._line = self._line, []
        for job in line:
            _tell(job, job.settle, None, _stopping())
        if self._job is not None:
            self._job.stop.set()
        self._jobs.put(None)
        self._thread.join(seconds)
        if ended := not self._thread.is_alive():
            self._job = None
        else:
            log.warning("work that has taken %.0f s does not stop; it is left behind", self.busy_s)
        return ended

    def _start_next(self) -> None:
        if self._job is not None or not self._line:
            return
        self._job = min(self._line, key=self._turn)  # of equals the first
        self._line.remove(self._job)
        self._now, self._since = self._turn(self._job), time.monotonic()
        self._jobs.put(self._job)

    def _turn(self, job: _Job) -> float:
        """When it is a job's turn: who comes anew has no credit from before."""
        return max(self._now, self._served.get(job.client, 0.0))

    def _end(self, job: _Job, result: Any, error: BaseException | None) -> None:
        job.settle(result, error)
        if job is not self._job:  # of a worker that was closed, and opened again
            return
        self._served[job.client] = self._now + self.busy_s
        self._job = None
        if self._line:
            self._start_next()
        else:
            self._served, self._now = {}, 0.0

    def _work(self, jobs: "queue.SimpleQueue[_Job | None]", threads: int) -> None:
        torch.set_num_threads(threads)
        while self._do(jobs.get()):
            continue

    def _do(self, job: _Job | None) -> bool:
        """Do one job; keeps nothing of it. Returns whether it was one."""
        if job is None:
            return False
        result, error = None, None
        try:
            result = _guarded(job.work, job.stop)
        except BaseException as raised:  # whoever waits gets it
            error = raised
        _tell(job, self._end, job, result, error)
        return True


def _tell(job: _Job, what: Callable[..., None], *arguments: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        job.loop.call_soon_threadsafe(what, *arguments)


def _stopping() -> Refusal:
    return Refusal(503, "the server is stopping; ask again when it is back")


def _guarded(work: Callable[[], T], stop: threading.Event) -> T:
    running.stop = stop
    try:
        check_stop()
        return work()
    except MemoryError:
        raise _no_memory() from None
    except RuntimeError as error:
        said = str(error).lower()
        if "out of memory" in said or "can't allocate memory" in said:
            raise _no_memory() from None
        raise


def _no_memory() -> Refusal:
    return Refusal(503, "out of memory: ask for less at a time, or upload a smaller picture")
