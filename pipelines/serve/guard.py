"""The door: who may ask, how much they may send, how long it may take; and what happened.

A request is read whole before the app sees it, so bodies are bounded whatever the app does. While
the app works, the door listens: if the client leaves, or the time is over, the work is cancelled.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grounding.errors import LavallamaError
from grounding.jsonfile import parse_json
from pipelines.serve.metrics import Metrics
from pipelines.serve.refusal import Refusal, problem
from pipelines.serve.settings import MIB, Settings

__all__ = ["DOCS_FILES", "OPEN_PATHS", "UPLOAD_PATH", "Guard"]

UPLOAD_PATH = "/v1/images"
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
OPEN_PATHS = HEALTH_PATHS | {"/docs", "/openapi.json"}  # no secrets there, so no token
DOCS_FILES = "/docs-files"  # what the page of /docs is made of
CLIENT_LEFT = 499  # nginx's number; nobody sees it but the metrics

log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, *, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = _Visit(scope, receive, send)
        crowded = self.metrics.open >= self.settings.waiting and visit.path not in HEALTH_PATHS
        self.metrics.open += 1
        try:
            if crowded:
                raise Refusal(429, "too many requests are waiting; come back in a second")
            await self._serve(visit)
        except LavallamaError as error:
            await visit.refuse(getattr(error, "status", 422), error)
        except _ClientLeft:
            visit.status = CLIENT_LEFT
        except Exception:
            log.exception("%s %s failed", scope["method"], visit.path)
            await visit.refuse(500, "the server has a fault; its log says which")
        finally:
            self.metrics.open -= 1
            self.metrics.record(
                visit.route, visit.method, visit.status, time.perf_counter() - visit.start
            )

    async def _serve(self, visit: "_Visit") -> None:
        self._check_who(visit)
        deadline = visit.start + self.settings.seconds
        try:
            body = await asyncio.wait_for(self._body(visit), deadline - time.perf_counter())
        except asyncio.TimeoutError:
            raise Refusal(
                408, f"the body did not arrive within {self.settings.seconds:g} s"
            ) from None
        _check_body(visit, body)
        work = asyncio.ensure_future(self.app(visit.scope, _replay(body), visit.send))
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
            Refusal: called by a name that is not ours, or without the token.
        """
        if self.settings.hosts:
            name = _host_name(visit.headers.get("host", ""))
            if name not in self.settings.hosts:
                raise Refusal(400, f"this server is not called {name!r:.60}; use its address")
        token = self.settings.token
        if token is None or visit.path in OPEN_PATHS or visit.path.startswith(f"{DOCS_FILES}/"):
            return
        scheme, _, sent = visit.headers.get("authorization", "").partition(" ")
        known = hmac.compare_digest(sent.strip().encode(), token.encode())
        if scheme.lower() != "bearer" or not known:
            raise Refusal(401, "send the server's token: Authorization: Bearer TOKEN")

    async def _body(self, visit: "_Visit") -> bytes:
        """Read the body, as much as is allowed.

        Raises:
            Refusal: too large.
        """
        upload = visit.path == UPLOAD_PATH
        limit = self.settings.image_bytes if upload else self.settings.json_bytes
        said = visit.headers.get("content-length", "")
        if said.isascii() and said.isdigit() and len(said) < 20 and int(said) > limit:
            raise _too_large(limit)
        body = bytearray()
        while True:
            message = await visit.receive()
            if message["type"] == "http.disconnect":
                raise _ClientLeft
            body += message.get("body", b"")
            if len(body) > limit:
                raise _too_large(limit)
            if not message.get("more_body", False):
                return bytes(body)


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _ClientLeft(Exception):  # noqa: N818  (not an error)
    """Nobody waits for the answer."""


class _Visit:
    """One request: what came, and what was answered."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self._send = scope, receive, send
        self.headers = Headers(scope=scope)
        self.path: str = scope["path"]
        self.status = CLIENT_LEFT
        self.start = time.perf_counter()
        self._begun = False

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
        return self.scope["method"] if self.scope["method"] in METHODS else "(other)"

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on."""
        if message["type"] == "http.response.start":
            self._begun, self.status = True, message["status"]
        await self._send(message)

    async def refuse(self, status: int, message: object) -> None:
        """Answer one line, unless an answer has begun."""
        if not self._begun:
            await problem(status, message)(self.scope, self.receive, self.send)


def _check_body(visit: _Visit, body: bytes) -> None:
    """Refuse a body that the app should never see.

    Raises:
        Refusal: not JSON (415), or JSON that cannot be read (400).
    """
    if visit.path == UPLOAD_PATH or not body:
        return
    kind = visit.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, f"send JSON, with Content-Type: application/json; got {kind!r:.60}")
    try:
        parse_json(body.decode())
    except UnicodeDecodeError as error:
        raise Refusal(400, f"the body is not UTF-8 text (byte {error.start})") from None
    except LavallamaError as error:
        raise Refusal(400, f"the body {error}") from None


def _replay(body: bytes) -> Receive:
    """The body once more, in one piece; then silence."""
    messages: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.get_running_loop().create_future()  # the door listens for the client's leave
        raise AssertionError("unreachable")

    return receive


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _host_name(host: str) -> str:
    """The name in a `Host` header, without the port and without IPv6's brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"the body is larger than {limit / MIB:g} MiB; send less at a time")
