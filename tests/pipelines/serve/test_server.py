"""The socket, the connections, and how the server stops."""

import asyncio
import socket
from typing import Any

import pytest

from benchmarks import serve as benchmark
from pipelines.serve import server


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_answers_do_not_wait_for_acknowledgements(host: str) -> None:
    class Meeting(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            met.append(
                transport.get_extra_info("socket").getsockopt(
                    socket.IPPROTO_TCP, socket.TCP_NODELAY
                )
            )
            transport.close()

    async def meet() -> None:
        door = server.bind(host, 0)
        made = await asyncio.get_running_loop().create_server(Meeting, sock=door)
        reader, writer = await asyncio.open_connection(*made.sockets[0].getsockname()[:2])
        assert await reader.read() == b""
        writer.close()
        made.close()
        await made.wait_closed()

    met: list[int] = []
    asyncio.run(meet())
    assert met
    assert met[0] != 0


def test_the_benchmark_listens_as_the_server_does() -> None:
    assert benchmark.bind is server.bind
