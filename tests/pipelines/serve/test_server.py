"""The socket, the connections, and how the server stops."""

import asyncio
import json
import resource
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import Response

from benchmarks import serve as benchmark
from grounding.errors import LavallamaError
from pipelines.serve import server
from tests.pipelines.serve.asking import Api, served

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


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


class Client:
    """A connection of raw bytes."""

    def __init__(self, port: int, data: bytes = b"", buffer: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(30)
        if buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(data)

    def status(self) -> tuple[int, Any]:
        """The next answer, and what its JSON says."""
        head, _, rest = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
        size = int(fields.get(b"content-length", b"0"))
        while len(rest) < size:
            rest += self.socket.recv(65536)
        kind = fields.get(b"content-type", b"")
        return int(head[9:12]), json.loads(rest) if kind == b"application/json" else rest

    def closed(self) -> bool:
        """Whether the server ends the connection, without a word."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _until(self, end: bytes) -> bytes:
        data = b""
        while end not in data:
            piece = self.socket.recv(65536)
            assert piece, data
            data += piece
        return data

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()


def until(test: Callable[[], bool]) -> None:
    for _ in range(3000):
        if test():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nX-a: "])
def test_a_head_must_come_in_time(make_api: Callable[..., Api], sent: bytes, kept: bool) -> None:
    api = make_api(head_s=0.2)
    with served(api) as port:
        api.server.config.timeout_keep_alive = 1
        check_silence(api, Client(port, HEALTH if kept else b""), sent, kept)


def check_silence(api: Api, client: "Client", sent: bytes, kept: bool) -> None:
    with client as silent:
        if kept:
            assert silent.status()[0] == 200
        silent.socket.sendall(sent)
        if sent:
            status, said = silent.status()
            assert status == 408
            assert "0.2 s" in said["error"]
        assert silent.closed()
        until(lambda: api.desk.metrics.connections == 0)


def test_drops_of_a_head_do_not_gain_time(make_api: Callable[..., Api]) -> None:
    with served(make_api(head_s=0.3)) as port, Client(port, b"GET / HTTP/1.1\r\n") as slow:
        for _ in range(1000):
            try:
                slow.socket.sendall(b"X: y\r\n")
            except OSError:
                return
            time.sleep(0.02)
    raise AssertionError("it was read on and on")


def test_a_body_that_was_refused_does_not_hold_its_connection(make_api) -> None:
    api = make_api(head_s=0.2, json_bytes=10)
    begun = b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n"
    with served(api) as port, Client(port, begun) as slow:
        assert slow.status()[0] == 413
        slow.socket.sendall(b"x")
        assert slow.closed()


def test_silent_connections_make_room(make_api: Callable[..., Api], monkeypatch) -> None:
    monkeypatch.setattr("pipelines.serve.settings.LEAST_CONNECTIONS", 20)
    api = make_api(waiting=2)
    with served(api) as port:
        silent = [Client(port) for _ in range(30)]
        with Client(port, METRICS) as one:
            assert one.status()[0] == 200
            assert api.desk.metrics.connections <= 20
        assert silent[0].closed()
        assert api.desk.metrics.dropped_connections >= 11
        for client in silent:
            client.socket.close()


def test_probes_find_room_among_requests(make_api: Callable[..., Api], monkeypatch) -> None:
    monkeypatch.setattr("pipelines.serve.settings.LEAST_CONNECTIONS", 8)
    monkeypatch.setattr(server, "PROBES", 2)
    begun = b"POST /v1/images HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    begun += b"Content-Length: 9\r\n\r\n"
    api = make_api(waiting=2)
    with served(api) as port:
        busy = [Client(port, begun) for _ in range(8)]
        until(lambda: api.desk.metrics.connections == 8)
        time.sleep(0.1)  # each has been read
        with Client(port, HEALTH) as probe, Client(port, METRICS) as other:
            assert probe.status() == (200, {"status": "ok"})
            status, said = other.status()
            assert (status, list(said)) == (503, ["error"])
            assert probe.closed()
        full = [Client(port) for _ in range(3)]
        assert full[0].closed()
        for client in (*busy, *full):
            client.socket.close()


def test_an_address_has_its_share(make_api: Callable[..., Api]) -> None:
    api = make_api(connections_per_address=18)
    with served(api) as port:
        clients = [Client(port) for _ in range(25)]
        with Client(port, HEALTH) as last:
            assert last.status()[0] == 200
        assert clients[0].closed()
        assert api.desk.metrics.connections <= 18
        for client in clients:
            client.socket.close()


def test_one_network_is_one_address() -> None:
    networks = map(server._network, ["2001:db8::1", "2001:db8::ffff:1", "::1", "10.0.0.1", "", "x"])
    assert list(networks) == ["2001:db8::", "2001:db8::", "::1", "10.0.0.1", "", "x"]


def test_what_is_no_http_is_refused_as_all_is(make_api: Callable[..., Api], caplog) -> None:
    with served(make_api()) as port:
        for _ in range(20):
            with Client(port, b"\x16\x03\x01 hello\r\n\r\n") as client:
                status, said = client.status()
                assert (status, list(said)) == (400, ["error"])
    assert sum("no HTTP" in record.message for record in caplog.records) <= 1


def test_few_open_files_are_said_before_they_are_missed(monkeypatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (100, 100))
    with pytest.raises(LavallamaError, match="ulimit -n"):
        server._affordable(256)


def test_connections_are_bounded_by_open_files(monkeypatch) -> None:
    limits = [(256, 400)]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda kind, new: limits.append(new))
    assert server._affordable(1000) == 400 - server.PROBES - server.SPARE_FILES
    assert limits[-1] == (400, 400)


LARGE = 8 * 2**20  # bytes, more than the system keeps for a connection


def large(api: Api) -> bytes:
    """A request for a large answer."""
    api.app.add_api_route("/large", lambda: Response(bytes(LARGE)))
    return b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"


def test_answers_that_nobody_reads_are_dropped(make_api: Callable[..., Api]) -> None:
    api = make_api(stall_s=0.3)
    asked = large(api)
    with served(api) as port, Client(port, asked, buffer=2048):
        until(lambda: api.desk.metrics.connections == 1)
        until(lambda: api.desk.metrics.connections == 0)
        until(lambda: 499 in {status for _, _, status in api.desk.metrics.requests})


def test_unread_answers_are_bounded_together(make_api: Callable[..., Api]) -> None:
    api = make_api(answer_bytes=2 * LARGE - 1)
    asked = large(api)
    with served(api) as port:
        readers = [Client(port, asked, buffer=2048) for _ in range(3)]
        until(lambda: api.desk.metrics.connections == 1)
        for reader in readers:
            reader.socket.close()
        until(lambda: sum(api.desk.metrics.requests.values()) == len(readers))
        assert sum(n for (_, _, s), n in api.desk.metrics.requests.items() if s == 499) >= 2


def test_a_slow_reader_gets_all_of_it(make_api: Callable[..., Api]) -> None:
    api = make_api(stall_s=0.3)
    asked = large(api)
    with served(api) as port, Client(port, asked, buffer=65536) as slow:
        time.sleep(0.2)
        status, body = slow.status()
        assert status == 200
        assert len(body) == LARGE


@pytest.mark.parametrize("leaves", [False, True])
def test_half_closed_clients_are_answered(make_api: Callable[..., Api], leaves: bool) -> None:
    api = make_api()
    gate, begun = threading.Event(), threading.Event()
    image, predict = api.upload(), api.desk.predictor.predict

    def held(**asked: Any) -> Any:
        begun.set()
        assert gate.wait(30)
        return predict(**asked)

    api.desk.predictor.predict = held
    body = b'{"points": [[30, 30]]}'
    head = f"POST /v1/images/{image}/segment HTTP/1.1\r\nHost: x\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with served(api) as port, Client(port, head.encode() + body) as client:
        assert begun.wait(30)
        if leaves:
            client.socket.close()
            until(lambda: 499 in {status for _, _, status in api.desk.metrics.requests})
            gate.set()
            return
        client.socket.shutdown(socket.SHUT_WR)
        time.sleep(0.2)
        gate.set()
        statuses = [client.status()[0]]
        while statuses[-1] == 102:
            statuses.append(client.status()[0])
        assert statuses[-1] == 200
        assert client.closed()


def test_it_says_that_it_stops_before_it_does(make_api: Callable[..., Api]) -> None:
    api = make_api(grace_s=1.0)
    with served(api) as port:
        threading.Timer(0.0, lambda: setattr(api.server, "should_exit", True)).start()
        until(lambda: api.desk.stopping)
        ready = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
        for asked, expected in ((ready, 503), (METRICS, 200)):
            with Client(port, asked) as client:
                assert client.status()[0] == expected
