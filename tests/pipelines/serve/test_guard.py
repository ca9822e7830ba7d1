"""The door: tokens, host names, sizes, crowds, time, clients that leave."""

import asyncio
import re
import socket
import threading
import time

import httpx
import pytest

from pipelines.serve.settings import Settings
from tests.pipelines.serve.asking import Api, file_of, refusal, served
from tests.seem.predicting import picture

QUESTION = {"points": [[30, 30]]}


class Held:
    """Makes the model wait until it is let go."""

    def __init__(self, api: Api) -> None:
        self.begun, self.gate, self.asked = threading.Semaphore(0), threading.Event(), 0
        self._predict = api.desk.predictor.predict
        api.desk.predictor.predict = self.predict

    def predict(self, **asked):
        self.asked += 1
        self.begun.release()
        assert self.gate.wait(60)
        return self._predict(**asked)


def test_token(make_api) -> None:
    api = make_api(token="open-sesame")
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert api.get(path).status_code == 200
    for sent in (None, "Bearer wrong", "Bearer ", "open-sesame", "Basic open-sesame"):
        response = api.get("/metrics", headers={"Authorization": sent} if sent else {})
        refusal(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"
    headers = {"Authorization": "Bearer open-sesame"}
    assert api.get("/metrics", headers=headers).status_code == 200
    refusal(api.send(file_of(picture())), 401)


def test_the_page_of_the_api_needs_neither_a_network_nor_a_token(make_api) -> None:
    api = make_api(token="open-sesame")
    page = api.get("/docs").text
    assert "https://" not in page
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(files) >= 3
    for file in files:
        assert api.get(file).status_code == 200


def test_a_token_that_is_no_ascii_is_only_wrong(make_api) -> None:
    headers = {"Authorization": "Bearer ü".encode("latin-1")}
    refusal(make_api(token="x").get("/metrics", headers=headers), 401)


def test_host_names(make_api) -> None:
    api = make_api(hosts=("localhost", "127.0.0.1", "::1"))
    for name in ("localhost:8000", "127.0.0.1", "LOCALHOST", "[::1]:8000"):
        assert api.get("/healthz", headers={"Host": name}).status_code == 200
    for name in ("evil.example", "localhost.evil.example:8000", ""):
        refusal(api.get("/healthz", headers={"Host": name}), 400)


def test_sizes(make_api) -> None:
    api = make_api(image_bytes=20_000, json_bytes=2_000)
    image = api.upload()
    refusal(api.send(bytes(20_001)), 413)
    refusal(api.post(f"/v1/images/{image}/segment", {"text": "x" * 2_000}), 413)

    async def pieces():
        for _ in range(21):
            yield bytes(1000)

    refusal(api.call("POST", "/v1/images", content=pieces()), 413)


def test_pixels(make_api) -> None:
    api = make_api(pixels=50 * 70 - 1)
    assert "50" in refusal(api.send(file_of(picture())), 413)


def test_a_crowd_is_told_to_come_back(make_api) -> None:
    api = make_api(waiting=2)
    path, held = f"/v1/images/{api.upload()}/segment", Held(api)

    async def crowd() -> list[httpx.Response]:
        first = [asyncio.ensure_future(api.http.post(path, json=QUESTION)) for _ in range(2)]
        await asyncio.to_thread(held.begun.acquire)
        third = await api.http.post(path, json=QUESTION)
        health = await api.http.get("/healthz")
        held.gate.set()
        return [third, health, *await asyncio.gather(*first)]

    third, health, *first = api.run(crowd())
    refusal(third, 429)
    assert third.headers["retry-after"] == "1"
    assert [response.status_code for response in (health, *first)] == [200] * 3


def test_who_waits_too_long_is_told_so_and_forgotten(make_api) -> None:
    api = make_api()
    path, held = f"/v1/images/{api.upload()}/segment", Held(api)

    async def both() -> list[httpx.Response]:
        return await asyncio.gather(*(api.http.post(path, json=QUESTION) for _ in range(2)))

    object.__setattr__(api.desk.settings, "seconds", 0.5)
    for response in api.run(both()):
        assert "0.5 s" in refusal(response, 504)
    assert held.asked <= 1
    object.__setattr__(api.desk.settings, "seconds", 60.0)
    held.gate.set()
    asked = held.asked
    assert api.post(path, QUESTION).status_code == 200
    assert held.asked == asked + 1  # who waited in line for nothing was never asked


def test_a_client_that_leaves_is_not_waited_for(make_api) -> None:
    api = make_api()
    path, held = f"/v1/images/{api.upload()}/segment", Held(api)
    body = b'{"points": [[30, 30]]}'
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with served(api) as port:
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
        for client in clients:
            client.sendall(request)
        held.begun.acquire()  # one is being worked on, the others wait
        _until(lambda: api.desk.metrics.open == 4)
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(request[:-5])
        for client in clients:
            client.close()
        _until(lambda: left(api) == 5)
        held.gate.set()
        url = f"http://127.0.0.1:{port}"
        response = httpx.post(url + path, json=QUESTION, trust_env=False)
        assert response.status_code == 200
        assert held.asked == 2
    assert api.desk.metrics.open == 0


def left(api: Api) -> int:
    return sum(n for (_, _, status), n in api.desk.metrics.requests.items() if status == 499)


def _until(test) -> None:
    for _ in range(6000):
        if test():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


def test_a_fault_is_one_line_and_in_the_log(make_api, caplog) -> None:
    api = make_api()
    image = api.upload()

    def broken(**asked):
        raise KeyError("secret")

    api.desk.predictor.predict = broken
    assert "secret" not in refusal(api.post(f"/v1/images/{image}/segment", QUESTION), 500)
    assert "KeyError: 'secret'" in caplog.text
    assert api.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes")]
)
def test_no_memory_is_said(make_api, error: Exception) -> None:
    api = make_api()
    image = api.upload()

    def greedy(**asked):
        raise error

    api.desk.predictor.predict = greedy
    response = api.post(f"/v1/images/{image}/segment", QUESTION)
    assert "out of memory" in refusal(response, 503)
    assert response.headers["retry-after"] == "5"


def test_when_it_stops_it_says_so(make_api) -> None:
    api = make_api()
    image = api.upload()
    api.desk.worker.close()
    refusal(api.post(f"/v1/images/{image}/segment", QUESTION), 503)
    refusal(api.get("/readyz"), 503)
    assert api.get("/healthz").json() == {"status": "ok"}


def test_metrics(make_api) -> None:
    api = make_api()
    image = api.upload()
    api.post(f"/v1/images/{image}/segment", QUESTION)
    api.get("/v1/images/secret")
    text = api.get("/metrics").text
    route = 'path="/v1/images/{image_id}/segment"'
    assert f'lavallama_requests_total{{{route},method="POST",status="200"}} 1\n' in text
    assert f'lavallama_request_seconds_bucket{{{route},le="+Inf"}} 1\n' in text
    assert "lavallama_images 1\n" in text
    assert "secret" not in text
    assert image not in text


@pytest.mark.parametrize(
    "wrong",
    [{"images": 0}, {"seconds": float("nan")}, {"pixels": 10**9}, {"token": ""}, {"token": "a b"}],
)
def test_settings_that_make_no_sense(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must|at most|token"):
        Settings(**wrong)
