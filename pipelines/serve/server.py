"""The listening socket, and uvicorn behind it: connections that may not wait for ever.

uvicorn has no limit of time before a request's head is whole, nor for an answer that nobody reads,
and above its limit of connections it refuses without closing; `Connection` and `Connections` do
these. A head must be there within `Settings.head_s`; a reader may stall for `Settings.stall_s`; and
who comes when all places are taken gets that of the connection that has been idle for longest.
"""

import asyncio
import contextlib
import functools
import ipaddress
import logging
import math
import socket
from collections import Counter
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from grounding.errors import LavallamaError
from pipelines.serve.guard import HEALTH_PATHS, is_local
from pipelines.serve.log import Seldom
from pipelines.serve.metrics import Metrics
from pipelines.serve.refusal import problem
from pipelines.serve.settings import Settings

__all__ = ["Connections", "Server", "bind"]

BACKLOG = 100  # asyncio takes as many connections at a time before it looks at the first of them
SPARE_FILES = 2 * BACKLOG + 64  # beside connections: those just taken, models, libraries, pipes
LEAST_CONNECTIONS = 16
PROBES = 16  # connections above the limit, for probes
YOUNG_S = 1.0  # in which a request follows its connection
STILL_THERE_S = (0.05, 1.0)  # seconds from a client's half close to the first look, and between

log = logging.getLogger(__name__)
seldom = Seldom(log)


def bind(host: str, port: int) -> socket.socket:
    """Take an address before the model is loaded; nobody can call yet.

    The socket keeps the protocol that its address has: asyncio sets TCP_NODELAY on connections
    whose protocol is IPPROTO_TCP alone, and without it each answer on a kept connection waits for
    the client's delayed acknowledgement, about 40 ms.

    Args:
        host: A name or an address.
        port: 0: any free one.

    Raises:
        LavallamaError: it is taken, or is not ours.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        door = socket.socket(family, kind, protocol)
        try:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(address)
        except OSError:
            door.close()
            raise
    except OSError as error:
        raise LavallamaError(
            f"cannot listen at {host}, port {port}: {(error.strerror or str(error)).lower()}; "
            "choose another --port or --host"
        ) from None
    return door


class Server(uvicorn.Server):
    """uvicorn's server, which says that it is stopping before it does."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        """Prepare to serve; `run(sockets=[door])` does.

        Raises:
            LavallamaError: too few files may be open.
        """
        self.grace_s, self.desk = settings.grace_s, app.state.desk
        most = _affordable(settings.connections)
        table = Connections(most, settings.connections_per_address, self.desk.metrics)
        config = uvicorn.Config(
            app,
            http=functools.partial(Connection, table=table, settings=settings),  # pyright: ignore
            ws="none",
            access_log=False,
            log_level="error",
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=math.ceil(settings.seconds) + 1,
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer on for a while, so that who looks at /readyz sends nobody any more; then stop."""
        self.desk.stopping = True
        ends = asyncio.get_running_loop().time() + self.grace_s
        while not self.force_exit and (left := ends - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(0.1, left))
        await super().shutdown(sockets)


class Connections:
    """All connections; when there is no room, those that wait without a request make some."""

    def __init__(self, most: int, per_address: int | None, metrics: Metrics) -> None:
        """Begin without any.

        Args:
            most: At one time.
            per_address: Of these, from one address (IPv6: one network of 64 bits); None: half of
                them, and all from this machine, where a proxy may be.
            metrics: Is told how many there are.
        """
        self.most, self.per_address, self.metrics = most, per_address, metrics
        self._open: dict[Connection, str] = {}
        self._idle: dict[Connection, None] = {}  # the longest idle one first
        self._from: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: "Connection", address: str) -> bool:
        """Take a connection in; returns whether there is room for more than a probe."""
        self._open[connection], self._idle[connection] = address, None
        self._from[address] += 1
        self.metrics.connections = len(self)
        if self._from[address] > self._share(address) and not self._drop_idle(connection, address):
            return False
        return len(self) <= self.most or self._drop_idle(connection, None)

    def note(self, connection: "Connection", *, idle: bool) -> None:
        """Say whether a connection has a request."""
        if not idle:
            self._idle.pop(connection, None)
        elif connection in self._open:
            self._idle.setdefault(connection)

    def leave(self, connection: "Connection") -> None:
        """Forget a connection; again: nothing."""
        self._idle.pop(connection, None)
        address = self._open.pop(connection, None)
        if address is not None:
            self._from[address] -= 1
            self._from += Counter()  # without zeros
            self.metrics.connections = len(self)

    def _share(self, address: str) -> int:
        if self.per_address is not None:
            return self.per_address
        return self.most if is_local(address) else max(1, self.most // 2)

    def _drop_idle(self, new: "Connection", address: str | None) -> bool:
        """Close the connection that has been idle for longest, of an address or of all."""
        others = [c for c in self._idle if c is not new and address in (None, self._open[c])]
        if not others or (len(others) < PROBES and others[0].age < YOUNG_S):
            return False  # nearly all have a request; who has just come is about to have one
        self.leave(others[0])
        self.metrics.dropped_connections += 1
        seldom("%s: too many connections; the longest idle ones are closed", others[0].address)
        others[0].transport.abort()
        return True


class Connection(H11Protocol):
    """One connection of a client."""

    def __init__(self, *arguments: Any, table: Connections, settings: Settings, **more: Any):
        super().__init__(*arguments, **more)
        self.table, self.settings = table, settings
        self.address, self._begun = "", self.loop.time()
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._moved = False

    def connection_made(self, transport: Any) -> None:
        """Look for room, and begin to count time."""
        super().connection_made(transport)
        self.address = _network(self.client[0] if self.client else "")
        self.app_state = {**self.app_state, "transport": transport}
        if not self.table.enter(self, self.address):
            if len(self.table) > self.table.most + PROBES:
                self.table.leave(self)
                seldom("%s: too many connections; new ones are closed", self.address)
                transport.abort()
                return
            self.app = _probes_alone(self.app)
        self._watch()
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self.table.leave(self)
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; a head that is not whole yet does not have longer for it."""
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._note()

    def eof_received(self) -> bool | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Answer on if the client only says that it sends no more (RFC 9293, 3.6: half-closed)."""
        whole = self._busy and self.conn.their_state is h11.DONE
        if not whole or self.scope["http_version"] != "1.1":
            return None
        self.cycle.keep_alive = False
        self._look_if_there(*STILL_THERE_S)
        return True

    def resume_writing(self) -> None:
        """Note that the client reads."""
        self._moved = True
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as all errors are."""
        seldom("%s: what it sends is no HTTP", self.address)
        self._close_with(400, "the request is not valid HTTP; send HTTP/1.1")

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return self.loop.time() - self._begun

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _note(self) -> None:
        """Say whether there is a request, and watch the time until there is one."""
        self.table.note(self, idle=not self._busy)
        waits = not self._busy and self.timeout_keep_alive_task is None
        if self._head_timer is not None and not waits:
            self._head_timer.cancel()
            self._head_timer = None
        elif self._head_timer is None and waits and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.settings.head_s, self._end_waiting)

    def _end_waiting(self) -> None:
        if self.transport.is_closing():
            return
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self._close_with(408, f"the head did not arrive within {self.settings.head_s:g} s")
        else:
            self.transport.abort()

    def _close_with(self, status: int, message: str) -> None:
        response = problem(status, message)
        headers = [*response.raw_headers, (b"connection", b"close")]
        with contextlib.suppress(h11.LocalProtocolError):  # an answer has begun
            for event in (
                h11.Response(status_code=status, headers=headers),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch(self) -> None:
        """Close a connection whose client takes nothing of what is there for it."""
        unsent = self.transport.get_write_buffer_size()
        if unsent >= self._unsent > 0 and not self._moved:
            self.transport.abort()
            return
        self._unsent, self._moved = unsent, False
        self._stall_timer = self.loop.call_later(self.settings.stall_s, self._watch)

    def _look_if_there(self, first: float, between: float) -> None:
        """Tell a client that closed one direction from one that left, which answers with a reset.

        The look is an interim response (RFC 9110, 15.2), which every HTTP/1.1 client reads over.
        """
        if not self._busy or self.cycle.response_started or self.transport.is_closing():
            return
        interim = h11.InformationalResponse(status_code=102, headers=[], reason=b"Processing")
        self.transport.write(self.conn.send(interim) or b"")
        self.loop.call_later(first, self._look_if_there, between, between)


def _network(address: str) -> str:
    """What counts as one address: of IPv6, what one customer has."""
    with contextlib.suppress(ValueError):
        known = ipaddress.ip_address(address.partition("%")[0])
        if known.version == 6 and not known.is_loopback:
            return str(ipaddress.ip_network((known, 64), strict=False).network_address)
    return address


def _probes_alone(app: ASGIApp) -> ASGIApp:
    """Answer probes and refuse all else; the connection ends with the answer."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        if scope["path"] in HEALTH_PATHS:
            await app(scope, receive, send_and_close)
        else:
            refusal = problem(503, "too many connections; come back in a few seconds")
            await refusal(scope, receive, send_and_close)

    return answer


def _affordable(connections: int) -> int:
    """How many connections there can be; the process's limit of open files is raised for them.

    Raises:
        LavallamaError: hardly any.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return connections
    wanted = connections + PROBES + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if most > soft:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    left = soft - PROBES - SPARE_FILES
    if left < LEAST_CONNECTIONS:
        raise LavallamaError(
            f"{soft} files may be open at one time, the server needs "
            f"{LEAST_CONNECTIONS + PROBES + SPARE_FILES}; raise `ulimit -n`"
        )
    return left
