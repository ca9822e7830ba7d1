"""The door: who may ask, how much they may send, how long it may take; and what happened.

A request is read whole before the app sees it, so bodies are bounded whatever the app does. It has
a place in the house from then on until there is an answer: neither who sends slowly nor who reads
slowly takes one. While the app works, the door listens: if the client leaves, or the time is over,
the work is cancelled.
"""

import asyncio
import contextlib
import errno
import hmac
import ipaddress
import logging
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grounding.errors import LavallamaError
from grounding.jsonfile import parse_json
from pipelines.serve.log import Seldom
from pipelines.serve.metrics import Metrics
from pipelines.serve.refusal import Refusal, problem
from pipelines.serve.settings import MIB, Settings
from pipelines.serve.worker import CLIENT

__all__ = ["DOCS_FILES", "HEALTH_PATHS", "OPEN_PATHS", "PARSED", "UPLOAD_PATH", "Guard", "is_local"]

UPLOAD_PATH = "/v1/images"
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
OPEN_PATHS = HEALTH_PATHS | {"/docs", "/openapi.json"}  # no secrets there, so no token
DOCS_FILES = "/docs-files"  # what the page of /docs is made of
PARSED = "lavallama.json"  # where the scope holds the parsed body
CLIENT_LEFT = 499  # nginx's number; nobody sees it but the metrics
READS = frozenset({"GET", "HEAD", "OPTIONS"})
METHODS = READS | {"POST", "PUT", "PATCH", "DELETE"}
BODY_RATE = 500  # bytes a second that a body must come at in the end; Apache's mod_reqtimeout
PIECE = 64 * 1024  # bytes of an answer at a time: uvicorn's own mark of a full buffer
SMALL = 16 * 1024  # bytes of JSON that are parsed at once; more would hold the event loop
MAX_PARTS = 100_000  # lists, objects and keys of a body; 64 strokes of 1024 places are 65,601
MAX_KEYS = 1024  # of one object: attributes of a region are its longest
REQUEST_ID = re.compile(r"[\w.:/+=@-]{1,128}\Z", re.ASCII)

log = logging.getLogger(__name__)
seldom = Seldom(log)


class Guard:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, *, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self._parsing = asyncio.Lock()
        self._held: Counter[str] = Counter()  # places, by client
        self._sending: dict[_Visit, int] = {}  # bytes, the oldest first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = _Visit(scope, receive, send)
        CLIENT.set(visit.client)
        try:
            await self._answer(visit)
        except LavallamaError as error:
            await visit.refuse(getattr(error, "status", 422), error)
        except _ClientLeft:
            visit.forget()
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                await visit.refuse(507, "the server's disk is full; send the file's bytes as body")
            else:
                log.exception("%s: %s %s failed", visit.id, scope["method"], visit.path)
                await visit.refuse(500, "the server has a fault; its log says which, by this id")
        finally:
            self.metrics.body_bytes -= visit.body_bytes
            visit.body = b""
            visit.scope.pop(PARSED, None)
        try:
            await self._send(visit)
        finally:
            took = time.perf_counter() - visit.start
            self.metrics.record(visit.route, visit.method, visit.status, took)
            log.info("%s", visit.line(took))

    async def _answer(self, visit: "_Visit") -> None:
        self._check_who(visit)
        self._check_crowd(visit)
        deadline = visit.start + self.settings.seconds
        await self._read(visit, deadline)
        with self._place(visit):
            if _is_json(visit):
                if len(visit.body) <= SMALL:
                    visit.scope[PARSED] = _parse(visit.body)
                else:
                    await self._in_time(self._parse_beside(visit), visit, deadline)
            app = self.app(visit.scope, visit.replay(), visit.keep)
            await self._in_time(app, visit, deadline)

    async def _in_time(self, coroutine: Any, visit: "_Visit", deadline: float) -> None:
        """Do something until the time is over or the client leaves.

        Raises:
            Refusal: it took too long.
        """
        work = asyncio.ensure_future(coroutine)
        left = asyncio.ensure_future(_until_gone(visit.receive))
        try:
            wait = max(0.0, deadline - time.perf_counter())
            done, _ = await asyncio.wait(
                {work, left}, timeout=wait, return_when=asyncio.FIRST_COMPLETED
            )
            if work in done:
                work.result()
            elif left in done:
                raise _ClientLeft
            else:
                raise Refusal(504, f"no answer within {self.settings.seconds:g} s; ask for less")
        finally:
            for task in (work, left):
                task.cancel()
            await asyncio.gather(work, left, return_exceptions=True)

    def _check_who(self, visit: "_Visit") -> None:
        """Refuse strangers.

        Raises:
            Refusal: called by a name that is not ours, by another's page, or without the token.
        """
        host = visit.headers.get("host", "")
        if self.settings.hosts and _host_name(host) not in self.settings.hosts:
            raise Refusal(
                400,
                f"this server is not called {_host_name(host)!r:.60}; use its address, or start it "
                "with --allowed-host",
            )
        if visit.method not in READS:
            self._check_origin(visit, host)
        token = self.settings.token
        if token is None or visit.path in OPEN_PATHS or visit.path.startswith(f"{DOCS_FILES}/"):
            return
        scheme, _, sent = visit.headers.get("authorization", "").partition(" ")
        known = hmac.compare_digest(sent.strip().encode(), token.encode())
        if scheme.lower() != "bearer" or not known:
            if sent:
                self.metrics.wrong_tokens += 1
                seldom("%s: sends a wrong token", visit.client)
            raise Refusal(401, "send the server's token: Authorization: Bearer TOKEN")

    def _check_origin(self, visit: "_Visit", host: str) -> None:
        """Refuse what another's web page has a browser send, which asks no one for forms.

        Raises:
            Refusal: it is not from a page of ours, or of one that may ask.
        """
        origin = visit.headers.get("origin")
        if origin in self.settings.origins:
            return
        foreign = origin is not None and origin.partition("://")[2].lower() != host.lower()
        site = visit.headers.get("sec-fetch-site", "none")
        if foreign or site not in ("none", "same-origin"):
            raise Refusal(
                403,
                f"a web page of {origin or site!r:.80} may not ask; start the server with "
                "--allow-origin to let it",
            )

    def _check_crowd(self, visit: "_Visit") -> None:
        """Refuse who finds no place.

        Raises:
            Refusal: too many are here, or half of them are this client's.
        """
        if visit.path in HEALTH_PATHS:
            return
        places = self.settings.waiting
        if visit.path == UPLOAD_PATH:
            places = max(1, places * 3 // 4)
        if self.metrics.open >= places:
            raise Refusal(429, "too many requests are waiting; come back in a second")
        share = places if is_local(visit.client) else max(1, places // 2)
        if self._held[visit.client] >= share:
            raise Refusal(429, f"{share} requests of yours are waiting; come back in a second")

    @contextlib.contextmanager
    def _place(self, visit: "_Visit") -> Iterator[None]:
        self._check_crowd(visit)
        self.metrics.open += 1
        self._held[visit.client] += 1
        try:
            yield
        finally:
            self.metrics.open -= 1
            self._held[visit.client] -= 1
            self._held += Counter()  # without zeros

    async def _read(self, visit: "_Visit", deadline: float) -> None:
        """Read the body, as much as is allowed, as slowly as is allowed.

        Raises:
            Refusal: too large, too slow, or too much with those of others.
        """
        upload = visit.path == UPLOAD_PATH
        limit = self.settings.image_bytes if upload else self.settings.json_bytes
        said = visit.headers.get("content-length", "")
        if said.isascii() and said.isdigit() and len(said) < 20 and int(said) > limit:
            raise _too_large(limit)
        body = bytearray()
        while True:
            slow = visit.start + self.settings.stall_s + len(body) / BODY_RATE
            wait = max(0.0, min(deadline, slow) - time.perf_counter())
            try:
                message = await asyncio.wait_for(visit.receive(), wait)
            except asyncio.TimeoutError:
                raise Refusal(
                    408, f"the body did not arrive in time: {len(body)} bytes so far"
                ) from None
            if message["type"] == "http.disconnect":
                raise _ClientLeft
            piece = message.get("body", b"")
            body += piece
            visit.body_bytes += len(piece)
            self.metrics.body_bytes += len(piece)
            if len(body) > limit:
                raise _too_large(limit)
            if (
                self.metrics.body_bytes > self.settings.body_bytes
                and self.metrics.body_bytes > visit.body_bytes
            ):
                raise Refusal(503, "too much is being sent at one time; come back in a few seconds")
            if not message.get("more_body", False):
                visit.body = bytes(body)
                return

    async def _parse_beside(self, visit: "_Visit") -> None:
        """Parse a large body beside the event loop, one at a time."""
        async with self._parsing:
            visit.scope[PARSED] = await asyncio.to_thread(_parse, visit.body)

    async def _send(self, visit: "_Visit") -> None:
        """Send the answer in pieces; if all together are too much, the oldest makes room."""
        head, size = visit.head, len(visit.answer)
        if head is None:
            return
        self._sending[visit] = size
        while sum(self._sending.values()) > self.settings.answer_bytes and len(self._sending) > 1:
            oldest = next(iter(self._sending))
            del self._sending[oldest]
            seldom("%s: does not read its answers; they are dropped", oldest.client)
            oldest.abort()
        try:
            await visit.send(head)
            body = b"" if visit.scope_method == "HEAD" else visit.answer
            for start in range(0, max(1, len(body)), PIECE):
                if visit.is_gone():
                    visit.status = CLIENT_LEFT
                    return
                piece, more = body[start : start + PIECE], start + PIECE < len(body)
                await visit.send({"type": "http.response.body", "body": piece, "more_body": more})
        finally:
            self._sending.pop(visit, None)


class _ClientLeft(Exception):  # noqa: N818  (not an error)
    """Nobody waits for the answer."""


class _Visit:
    """One request: what came, and what is answered."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.receive, self.send = receive, send
        self.scope_method: str = scope["method"]
        # Who asks for the head alone is answered as if for all of it (RFC 9110, 9.3.2).
        self.scope: Scope = {**scope, "method": "GET"} if self.scope_method == "HEAD" else scope
        self.headers = Headers(scope=scope)
        self.path: str = scope["path"]
        self.client: str = scope["client"][0] if scope.get("client") else ""
        given = self.headers.get("x-request-id", "")
        self.id = given if REQUEST_ID.match(given) else secrets.token_hex(8)
        self.status = CLIENT_LEFT
        self.start = time.perf_counter()
        self.body, self.body_bytes = b"", 0
        self.head: dict[str, Any] | None = None
        self.answer = bytearray()

    @property
    def route(self) -> str:
        """What the metrics call the path: a template without ids, so that there are few."""
        if self.path in OPEN_PATHS:
            return self.path
        unknown = "(no such path)" if self.status == 404 else "(at the door)"
        return getattr(self.scope.get("route"), "path", unknown)

    @property
    def method(self) -> str:
        """What the metrics call the method."""
        return self.scope_method if self.scope_method in METHODS else "(other)"

    def line(self, took: float) -> str:
        """The request in one line, without ids of pictures and sessions."""
        return (
            f"{self.id} {self.client} {self.method} {self.route} {self.status} {took * 1e3:.0f} ms"
        )

    def replay(self) -> Receive:
        """The body once more, in one piece; then silence."""
        messages: list[Message] = [{"type": "http.request", "body": self.body}]

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await asyncio.get_running_loop().create_future()  # the door listens for their leave
            raise AssertionError("unreachable")

        return receive

    async def keep(self, message: Message) -> None:
        """Keep a part of the answer until it is whole."""
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (b"x-request-id", self.id.encode())]
            self.head, self.status = {**message, "headers": headers}, message["status"]
        elif message["type"] == "http.response.body":
            self.answer += message.get("body", b"")

    async def refuse(self, status: int, message: object) -> None:
        """Answer one line, whatever was to be answered."""
        self.forget()
        await problem(status, message)(self.scope, self.receive, self.keep)

    def forget(self) -> None:
        """Answer nothing."""
        self.head, self.answer, self.status = None, bytearray(), CLIENT_LEFT

    @property
    def _transport(self) -> asyncio.WriteTransport | None:
        """Of the connection (`pipelines.serve.server`); None: there is none, in tests."""
        return self.scope.get("state", {}).get("transport")

    def is_gone(self) -> bool:
        """Whether the connection is broken off."""
        return self._transport is not None and self._transport.is_closing()

    def abort(self) -> None:
        """Break the connection off."""
        if self._transport is not None:
            self._transport.abort()


def _is_json(visit: _Visit) -> bool:
    """Whether there is JSON to be parsed.

    Raises:
        Refusal: there is a body of another kind where JSON is expected, or of too many parts.
    """
    if visit.path == UPLOAD_PATH or not visit.body:
        return False
    kind = visit.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, f"send JSON, with Content-Type: application/json; got {kind!r:.60}")
    if (parts := sum(visit.body.count(mark) for mark in (b"[", b"{", b":"))) > MAX_PARTS:
        raise Refusal(
            413, f"the body has {parts} lists, objects and keys, at most {MAX_PARTS} are read"
        )
    return True


def _parse(body: bytes) -> object:
    """Parse JSON.

    Raises:
        Refusal: it cannot be read.
    """
    try:
        return parse_json(body.decode("utf-8-sig"), max_keys=MAX_KEYS)
    except UnicodeDecodeError as error:
        raise Refusal(400, f"the body is not UTF-8 text (byte {error.start})") from None
    except LavallamaError as error:
        raise Refusal(400, f"the body {error}") from None


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def is_local(address: str) -> bool:
    """Whether an address is of this machine, where it may be a proxy that speaks for many."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == ""


def _host_name(host: str) -> str:
    """The name in a `Host` header, without the port and without IPv6's brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"the body is larger than {limit / MIB:g} MiB; send less at a time")
