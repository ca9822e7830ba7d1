"""A chat model on another machine, behind an OpenAI-compatible endpoint.

The protocol is that of https://platform.openai.com/docs/api-reference/chat, which vLLM, SGLang,
llama.cpp, Ollama and others speak: `POST {url}/chat/completions`; pictures are data URLs; a
streamed answer is server-sent events
(https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from grounding.errors import AnswerError
from grounding.llava.conversation import Conversation, Turn
from grounding.llava.decoding import GREEDY, Decoding

__all__ = ["Endpoint"]

TIMEOUT = 60.0  # seconds without a byte
LINE_LIMIT = 1 << 20  # bytes of one event
ANSWER_LIMIT = 16 << 20  # bytes of an answer
NOISE = 200  # characters of a server's complaint that are repeated


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Speaks with a model elsewhere.

    Attributes:
        url: Base of the API, such as `http://127.0.0.1:8000/v1`.
        model: What the server calls the model.
        key_variable: Environment variable that holds the key; None: no key is sent.
        timeout: Seconds to wait for the server, each time.
    """

    url: str
    model: str
    key_variable: str | None = None
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise AnswerError(f"expected an endpoint like http://host:8000/v1, got {self.url!r}")
        if parts.username or parts.password:
            raise AnswerError("an endpoint's address must hold no password: name a key variable")

    def answer(self, conversation: Conversation, decoding: Decoding = GREEDY) -> str:
        """Return an answer.

        Raises:
            AnswerError: The server cannot be reached, refuses, or answers with something else.
        """
        with self._ask(conversation, decoding, stream=False) as response:
            data = self._bytes(response)
        try:
            text = json.loads(data)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise self._odd(data) from None
        if not isinstance(text, str):
            raise self._odd(data)
        return text.strip()

    def stream(self, conversation: Conversation, decoding: Decoding = GREEDY) -> Iterator[str]:
        """Yield an answer in parts, as they come.

        Raises:
            AnswerError: As for `answer`, or the stream breaks off.
        """
        with self._ask(conversation, decoding, stream=True) as response:
            for data in self._events(response):
                if data == "[DONE]":
                    return
                part = self._delta(data)
                if part:
                    yield part
        raise AnswerError(f"{self.url}: the answer broke off: ask again")

    def _ask(self, conversation: Conversation, decoding: Decoding, *, stream: bool) -> Any:
        body = {
            "model": self.model,
            "messages": _messages(conversation),
            "max_tokens": decoding.max_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": decoding.seed,
            "stream": stream,
        }
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **self._key()},
        )
        try:
            return urllib.request.build_opener(_Stay).open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise AnswerError(
                    f"{self.url}: refused ({error.code}){_complaint(error)}"
                ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._lost(error) from None

    def _key(self) -> dict[str, str]:
        if self.key_variable is None:
            return {}
        key = os.environ.get(self.key_variable, "").strip()
        if not key or not key.isascii() or not key.isprintable():
            raise AnswerError(
                f"the environment variable {self.key_variable} must hold the endpoint's key: set it"
            )
        return {"Authorization": f"Bearer {key}"}

    def _bytes(self, response: Any) -> bytes:
        try:
            data = response.read(ANSWER_LIMIT + 1)
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None
        if len(data) > ANSWER_LIMIT:
            raise AnswerError(f"{self.url}: the answer is longer than {ANSWER_LIMIT} bytes")
        return data

    def _events(self, response: Any) -> Iterator[str]:
        """The data of server-sent events."""
        lines: list[str] = []
        while True:
            try:
                line = response.readline(LINE_LIMIT + 1)
            except (OSError, http.client.HTTPException) as error:
                raise self._lost(error) from None
            if len(line) > LINE_LIMIT:
                raise AnswerError(f"{self.url}: an event is longer than {LINE_LIMIT} bytes")
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if text.startswith("data:"):
                lines.append(text[5:].removeprefix(" "))
            elif not text and lines:
                yield "\n".join(lines)
                lines = []
            if not line:
                return

    def _delta(self, data: str) -> str:
        try:
            event = json.loads(data)
            choices = event.get("choices")
            part = choices[0]["delta"].get("content") if choices else ""
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise self._odd(data.encode()) from None
        if isinstance(event, Mapping) and event.get("error"):
            raise AnswerError(f"{self.url}: failed while answering{_said(event)}")
        if part is not None and not isinstance(part, str):
            raise self._odd(data.encode())
        return part or ""

    def _lost(self, error: Exception) -> AnswerError:
        reason = getattr(error, "reason", error)
        if isinstance(reason, (TimeoutError, socket.timeout)):
            return AnswerError(f"{self.url}: no answer within {self.timeout:g} seconds")
        words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        return AnswerError(
            f"{self.url}: cannot be reached ({str(words).lower()}): is the server running?"
        )

    def _odd(self, data: bytes) -> AnswerError:
        shown = " ".join(data[:NOISE].decode("utf-8", "replace").split())
        return AnswerError(
            f"{self.url}: expected a chat completion, got {shown!r}: is it an OpenAI-compatible "
            "endpoint?"
        )


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key is for this address alone."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _messages(conversation: Conversation) -> list[dict[str, Any]]:
    system = [] if conversation.system is None else [conversation.system]
    messages: list[dict[str, Any]] = [{"role": "system", "content": text} for text in system]
    return messages + [
        {"role": turn.role, "content": _content(turn)} for turn in conversation.turns
    ]


def _content(turn: Turn) -> str | list[dict[str, Any]]:
    if not turn.pictures:
        return turn.text
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": _data_url(part)}}
        for part in turn.content
    ]


def _data_url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _complaint(response: Any) -> str:
    """What a server says of a request that it refuses."""
    try:
        event = json.loads(response.read(LINE_LIMIT))
    except (OSError, ValueError, RecursionError, http.client.HTTPException):
        return ""
    return _said(event)


def _said(event: Any) -> str:
    error = event.get("error", event) if isinstance(event, Mapping) else event
    values: Iterable[Any] = (
        (error.get("message"), error.get("detail")) if isinstance(error, Mapping) else (error,)
    )
    words = next((value for value in values if isinstance(value, str)), "")
    return f": {' '.join(words.split())[:NOISE]}" if words else ""
