"""What no HTTP client would send: each is refused with one line of JSON, or answered as it is."""

import json
import socket
from collections.abc import Iterator

import pytest

from tests.pipelines.serve.asking import Api, served

HOST = b"Host: 127.0.0.1\r\nConnection: close\r\n"
ASK = b'{"text":"llama"}'
POST = b"POST /v1/images/IMAGE/segment HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST


def get(path: bytes, more: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET " + path + b" " + version + b"\r\n" + HOST + more + b"\r\n"


def post(headers: bytes, body: bytes) -> bytes:
    return POST + headers + b"\r\n" + body


CASES = {
    "a foreign name": (b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400),
    "a name that ends as ours": (b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1.x.io\r\n\r\n", 400),
    "no name": (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
    "two names": (get(b"/metrics", b"Host: evil.example\r\n"), 400),
    "another's address": (b"GET http://evil.example/healthz HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 99 + b"\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a version without a dot": (get(b"/healthz", version=b"HTTP/9"), 400),
    "200 headers": (get(b"/healthz", b"".join(b"X-%d: a\r\n" % i for i in range(200))), 200),
    "a space before the colon": (b"GET /healthz HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n", 400),
    "a path that is no UTF-8": (get(b"/v1/images/%ff%fe"), 404),
    "a path with a NUL": (get(b"/v1/images/%00"), 404),
    "a path with a line end": (get(b"/v1/x%0d%0aSet-Cookie:a=b"), 404),
    "a path upwards": (get(b"/docs-files/../../../../etc/passwd"), 404),
    "a path upwards, encoded": (get(b"/docs-files/..%2f..%2f..%2fetc/passwd"), 404),
    "a websocket": (get(b"/v1/images", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), 405),
    "two lengths": (post(b"Content-Length: 3\r\nContent-Length: 16\r\n", ASK), 400),
    "a negative length": (post(b"Content-Length: -1\r\n", ASK), 400),
    "a huge length": (post(b"Content-Length: 9999999999999999999\r\n", ASK), 413),
    "gzip": (post(b"Transfer-Encoding: gzip, chunked\r\n", b"10\r\n" + ASK), 400),
    "a chunk that has no size": (post(b"Transfer-Encoding: chunked\r\n", b"zz\r\n" + ASK), 400),
    "chunks": (post(b"Transfer-Encoding: chunked\r\n", b"10\r\n" + ASK + b"\r\n0\r\n\r\n"), 200),
    "a byte order mark": (post(b"Content-Length: 19\r\n", b"\xef\xbb\xbf" + ASK), 200),
    "a form": (
        post(b"Content-Length: 16\r\n", ASK).replace(b"application/json", b"text/plain"),
        415,
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, bytes]]:
    api = Api(hosts=("127.0.0.1",))
    image = api.upload()
    with served(api) as port:
        yield port, image.encode()
    api.close()


@pytest.mark.parametrize("name", CASES)
def test_one_answer_of_one_line(server: tuple[int, bytes], name: str) -> None:
    port, image = server
    data, status = CASES[name]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(data.replace(b"IMAGE", image))
        head, body = read(client)
    assert int(head[9:12]) == status, body
    assert b"set-cookie" not in head.lower()
    if status >= 400:
        assert b"application/json" in head
        assert list(json.loads(body)) == ["error"]


def read(client: socket.socket) -> tuple[bytes, bytes]:
    """The head and the body of an answer."""
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        size = fields.get(b"content-length")
        if end and size is not None and len(body) >= int(size):
            return head, body[: int(size)]
        try:
            piece = client.recv(65536)
        except ConnectionResetError:  # it was closed before all of it was read
            piece = b""
        if not piece:
            return head, body
        data += piece


def test_requests_in_a_row_are_answered_in_a_row(server: tuple[int, bytes]) -> None:
    once = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server[0]), timeout=30) as client:
        client.sendall(once * 2 + get(b"/healthz"))
        data = b""
        while piece := client.recv(65536):
            data += piece
    assert data.count(b"HTTP/1.1 200 OK") == data.count(b'{"status":"ok"}') == 3
