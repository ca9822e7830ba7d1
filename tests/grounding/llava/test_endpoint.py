"""A small server plays the endpoint; nothing leaves this machine."""

import base64
import io
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from grounding.errors import AnswerError
from grounding.llava.conversation import Conversation, Turn
from grounding.llava.decoding import Decoding
from grounding.llava.endpoint import Endpoint
from tests.grounding.llava.tiny import picture

QUESTION = Conversation.of("What is this?")
DONE = "data: [DONE]\n\n"


def event(text: str | None) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n"


class Server(ThreadingHTTPServer):
    """Answers every request with what it is told to."""

    status, body = 200, b""
    kind = "application/json"

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict, dict]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def says(self, body: object, status: int = 200) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.body, self.status = text.encode(), status


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))
        self.server.requests.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def answers(text: object) -> dict:
    return {"choices": [{"message": {"content": text}}]}


def test_a_question_is_sent_as_the_protocol_says(server, monkeypatch):
    monkeypatch.setenv("CHAT_KEY", " secret ")
    server.says(answers(" A llama. "))
    image = picture(8, 6)
    asked = Conversation(
        turns=(
            Turn(role="user", content=(image, "What?")),
            Turn(role="assistant", content=("A llama.",)),
            Turn(role="user", content=("Of what?",)),
        ),
        system="Be brief.",
    )
    endpoint = Endpoint(url=server.url + "/", model="m", key_variable="CHAT_KEY")
    assert endpoint.answer(asked, Decoding(max_tokens=7, temperature=0.5, seed=3)) == "A llama."
    [(path, headers, body)] = server.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert (body["model"], body["max_tokens"], body["seed"]) == ("m", 7, 3)
    assert (body["temperature"], body["stream"]) == (0.5, False)
    system, first, second, third = body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert second == {"role": "assistant", "content": "A llama."}
    assert third["content"] == "Of what?"
    shown, words = first["content"]
    assert words == {"type": "text", "text": "What?"}
    head, _, data = shown["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    sent = Image.open(io.BytesIO(base64.b64decode(data)))
    assert sent.tobytes() == image.tobytes()


def test_answers_stream(server):
    server.says(": ping\n\n" + event(None) + event("A ll") + event("") + event("ama.") + DONE)
    endpoint = Endpoint(url=server.url, model="m")
    assert list(endpoint.stream(QUESTION)) == ["A ll", "ama."]
    [(_, headers, body)] = server.requests
    assert body["stream"]
    assert "Authorization" not in headers
    server.says(event("caf\u00e9").replace("\n", "\r\n") + 'data: {"choices": []}\n\n' + DONE)
    assert list(endpoint.stream(QUESTION)) == ["caf\u00e9"]


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ({"error": {"message": "no such\nmodel"}}, 404, r"refused \(404\): no such model"),
        ({"detail": "bad key"}, 401, r"refused \(401\): bad key"),
        ("<html>", 500, r"refused \(500\)$"),
        ({}, 302, r"refused \(302\)"),
        ("<html>hello", 200, "expected a chat completion, got '<html>hello'"),
        (answers(None), 200, "expected a chat completion"),
        (answers([1]), 200, "expected a chat completion"),
        ({"choices": []}, 200, "expected a chat completion"),
        ("[" * 100_000, 200, "expected a chat completion"),
        ([], 200, "expected a chat completion"),
    ],
)
def test_what_is_no_answer_is_one_line(server, body, status, problem):
    server.says(body, status)
    with pytest.raises(AnswerError, match=problem) as caught:
        Endpoint(url=server.url, model="m").answer(QUESTION)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert len(server.requests) == 1  # redirects are not followed: the key is for one address


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (event("A "), "broke off"),
        ("", "broke off"),
        ("data: {\n\n", "expected a chat completion"),
        ('data: {"error": {"message": "out of memory"}}\n\n', "while answering: out of memory"),
        (event("A ").replace('"A "', "5"), "expected a chat completion"),
        ("data: [1]\n\n", "expected a chat completion"),
        ('data: {"choices": [{}]}\n\n', "expected a chat completion"),
        ("data: " + "x" * (1 << 21), "an event is longer"),
    ],
)
def test_broken_streams_are_one_line(server, body, problem):
    server.says(body)
    with pytest.raises(AnswerError, match=problem):
        list(Endpoint(url=server.url, model="m").stream(QUESTION))


def test_a_server_that_is_not_there_is_one_line():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{place.getsockname()[1]}/v1"
    with pytest.raises(AnswerError, match=r"cannot be reached \(connection refused\)"):
        Endpoint(url=url, model="m").answer(QUESTION)


def test_a_server_that_is_silent_is_one_line(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(AnswerError, match=r"no answer within 0\.05 seconds"):
            Endpoint(url=url, model="m", timeout=0.05).answer(QUESTION)


@pytest.mark.parametrize("url", ["localhost:8000", "file:///etc/passwd", "http://", "ftp://a/b"])
def test_addresses_are_checked(url):
    with pytest.raises(AnswerError, match="expected an endpoint like"):
        Endpoint(url=url, model="m")
    with pytest.raises(AnswerError, match="hold no password"):
        Endpoint(url="http://user:word@host/v1", model="m")


@pytest.mark.parametrize("key", [None, "", "a\nb", "caf\u00e9"])
def test_a_key_must_be_there(monkeypatch, key):
    monkeypatch.delenv("CHAT_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("CHAT_KEY", key)
    with pytest.raises(AnswerError, match="CHAT_KEY must hold the endpoint's key") as caught:
        Endpoint(url="http://127.0.0.1:1/v1", model="m", key_variable="CHAT_KEY").answer(QUESTION)
    assert not key or key not in str(caught.value)
