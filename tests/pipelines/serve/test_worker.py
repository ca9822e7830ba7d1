"""The model's thread: turns, and an end in bounded time."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from pipelines.serve.refusal import Refusal
from pipelines.serve.worker import CLIENT, Worker, check_stop


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


async def ask(worker: Worker, client: str, done: list[str], seconds: float = 0.0) -> None:
    CLIENT.set(client)
    await worker.run(lambda: (time.sleep(seconds), done.append(client)))


def test_clients_take_turns(worker: Worker) -> None:
    done: list[str] = []

    async def crowd() -> None:
        many = [asyncio.ensure_future(ask(worker, "many", done, 0.02)) for _ in range(6)]
        await asyncio.sleep(0)
        few = [asyncio.ensure_future(ask(worker, "few", done, 0.02)) for _ in range(2)]
        await asyncio.gather(*many, *few)

    asyncio.run(crowd())
    assert done.count("many") == 6
    assert "few" in done[:2]
    assert done[:5].count("few") == 2


def test_of_one_client_the_oldest_is_first(worker: Worker) -> None:
    done: list[int] = []

    async def crowd() -> None:
        works = [lambda i=i: done.append(i) for i in range(9)]
        await asyncio.gather(*map(worker.run, works))

    asyncio.run(crowd())
    assert done == list(range(9))


def test_work_that_nobody_waits_for_never_starts(worker: Worker) -> None:
    gate, done = threading.Event(), []

    async def leave() -> None:
        first = asyncio.ensure_future(worker.run(lambda: gate.wait(60)))
        second = asyncio.ensure_future(worker.run(lambda: done.append(2)))
        await asyncio.sleep(0)
        assert worker.waiting == 1
        second.cancel()
        await asyncio.sleep(0)
        assert worker.waiting == 0
        gate.set()
        await first

    asyncio.run(leave())
    assert done == []
    assert worker.busy_s == 0.0


def test_closing_never_waits_for_ever() -> None:
    worker, gate = Worker(), threading.Event()

    async def wedge() -> None:
        stuck = asyncio.ensure_future(worker.run(lambda: gate.wait(60)))
        queued = asyncio.ensure_future(worker.run(lambda: None))
        await asyncio.sleep(0.05)
        assert not await asyncio.to_thread(worker.close, 0.1)
        with pytest.raises(Refusal, match="stopping"):
            await queued
        with pytest.raises(Refusal, match="stopping"):
            await worker.run(lambda: None)
        gate.set()
        await stuck

    asyncio.run(wedge())


def test_closing_asks_work_to_stop() -> None:
    worker = Worker()

    def last() -> None:
        while True:
            check_stop()
            time.sleep(0.001)

    async def close() -> None:
        begun = asyncio.ensure_future(worker.run(last))
        await asyncio.sleep(0.01)
        assert await asyncio.to_thread(worker.close)
        with pytest.raises(Refusal, match="nobody waits"):
            await begun

    asyncio.run(close())


def test_work_that_never_ends_does_not_keep_the_process_from_ending() -> None:
    code = (
        "import asyncio, time\n"
        "from pipelines.serve.worker import Worker\n"
        "async def main():\n"
        "    worker = Worker()\n"
        "    asyncio.ensure_future(worker.run(lambda: time.sleep(3600)))\n"
        "    await asyncio.sleep(0.05)\n"
        "    print(worker.close(0.1), flush=True)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
