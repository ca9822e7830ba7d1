"""The door: tokens, host names, sizes, crowds, time, clients that leave."""

import asyncio
import errno
import re
import socket
import threading
import time

import httpx
import pytest

from pipelines.serve import guard
from pipelines.serve.settings import Settings
from pipelines.serve.worker import CLIENT
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


EVIL = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
FORM = {"files": {"file": ("x.png", file_of(picture()), "image/png")}}


@pytest.mark.parametrize(
    "headers",
    [
        EVIL,
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8001", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_others_may_not_change_anything(make_api, headers: dict) -> None:
    api = make_api()
    image = api.upload()
    refusal(api.call("POST", "/v1/images", headers=headers, **FORM), 403)
    refusal(api.call("DELETE", f"/v1/images/{image}", headers=headers), 403)
    refusal(api.call("POST", f"/v1/images/{image}/segment", headers=headers, json=QUESTION), 403)
    assert api.get(f"/v1/images/{image}", headers=headers).status_code == 200
    assert len(api.desk.images) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_own_pages_and_programs_may(api: Api, headers: dict) -> None:
    assert api.call("POST", "/v1/images", headers=headers, **FORM).status_code == 201


def test_pages_that_are_named_may_and_can_read_the_answer(make_api) -> None:
    api = make_api(origins=("http://evil.example",), token="x")
    headers = EVIL | {"Authorization": "Bearer x"}
    done = api.call("POST", "/v1/images", headers=headers, **FORM)
    assert done.status_code == 201
    assert done.headers["access-control-allow-origin"] == "http://evil.example"
    asks = EVIL | {"Access-Control-Request-Method": "POST"}
    assert api.call("OPTIONS", "/v1/images", headers=asks).status_code == 200
    other = {"Origin": "http://worse.example", "Authorization": "Bearer x"}
    refusal(api.call("POST", "/v1/images", headers=other, **FORM), 403)


def test_heads_are_answered_as_the_whole_is(api: Api) -> None:
    with served(api) as port:
        for path in ("/healthz", "/readyz", "/docs", "/metrics"):
            url = f"http://127.0.0.1:{port}{path}"
            head, whole = (httpx.request(m, url, trust_env=False) for m in ("HEAD", "GET"))
            assert (head.status_code, head.content) == (200, b"")
            if path != "/metrics":
                assert head.headers["content-length"] == str(len(whole.content))
        assert httpx.head(f"http://127.0.0.1:{port}/v1/batch", trust_env=False).status_code == 405


def test_requests_have_ids(make_api, caplog) -> None:
    api = make_api()
    assert api.get("/healthz", headers={"X-Request-ID": "a-b.1"}).headers["x-request-id"] == "a-b.1"
    own = {api.get("/v2").headers["x-request-id"] for _ in range(3)}
    forged = api.get("/healthz", headers={"X-Request-ID": "a b\tc"}).headers["x-request-id"]
    assert len(own | {forged}) == 4

    def broken(**asked):
        raise KeyError("secret")

    image, api.desk.predictor.predict = api.upload(), broken
    done = api.post(f"/v1/images/{image}/segment", QUESTION)
    refusal(done, 500)
    assert done.headers["x-request-id"] in caplog.text
    assert "Traceback" in caplog.text


def test_a_full_disk_is_said(make_api, monkeypatch) -> None:
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", full)
    assert "disk is full" in refusal(make_api().call("POST", "/v1/images", **FORM), 507)


def test_wrong_tokens_are_counted_and_logged_once(make_api, caplog) -> None:
    api = make_api(token="open-sesame")
    for token in "abc":
        refusal(api.get("/metrics", headers={"Authorization": f"Bearer {token}"}), 401)
    text = api.get("/metrics", headers={"Authorization": "Bearer open-sesame"}).text
    assert "lavallama_wrong_tokens_total 3\n" in text
    assert sum("wrong token" in record.message for record in caplog.records) <= 1


def test_slow_bodies_take_no_place(make_api) -> None:
    api = make_api(waiting=1, stall_s=0.3)
    image = api.upload()
    head = b"POST /v1/images HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    with served(api) as port:
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
        for each in slow:
            each.sendall(head + b"Content-Length: 999\r\n\r\nx")
        url = f"http://127.0.0.1:{port}/v1/images/{image}/segment"
        assert httpx.post(url, json=QUESTION, trust_env=False).status_code == 200
        for each in slow:
            assert b" 408 " in each.recv(999)
            each.close()


def test_bodies_are_bounded_together(make_api) -> None:
    api = make_api(body_bytes=100_000, stall_s=5.0)
    head = b"POST /v1/images HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    with served(api) as port:
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(head + b"Content-Length: 99999\r\n\r\n" + bytes(99_000))
            _until(lambda: api.desk.metrics.body_bytes >= 99_000)
            url, data = f"http://127.0.0.1:{port}/v1/images", bytes(2_000)
            response = httpx.post(
                url, content=data, headers={"Content-Type": "image/png"}, trust_env=False
            )
            assert response.status_code == 503
            assert response.headers["retry-after"] == "5"
        _until(lambda: api.desk.metrics.body_bytes == 0)


def test_new_pictures_leave_places_to_those_that_are_here(make_api) -> None:
    api = make_api(waiting=4)
    path, held = f"/v1/images/{api.upload()}/segment", Held(api)

    async def open_requests(count: int) -> None:
        while api.desk.metrics.open < count:
            await asyncio.sleep(0.01)

    async def crowd() -> list[httpx.Response]:
        first = [asyncio.ensure_future(api.http.post(path, json=QUESTION)) for _ in range(3)]
        await open_requests(3)
        new = await api.http.post("/v1/images", **FORM)
        last = asyncio.ensure_future(api.http.post(path, json=QUESTION))
        await open_requests(4)
        held.gate.set()
        return [new, *await asyncio.gather(*first, last)]

    new, *old = api.run(crowd())
    refusal(new, 429)
    assert [response.status_code for response in old] == [200] * 4


BODIES = {
    "100,000 unknown keys": "{" + ",".join(f'"k{i}":1' for i in range(100_000)) + "}",
    "1000 unknown keys": "{" + ",".join(f'"k{i}":1' for i in range(1000)) + "}",
    "300,000 points": '{"points":[' + "[1,1]," * 300_000 + "[1,1]]}",
    "65,536 places of text": '{"strokes":['
    + ",".join(["[" + ",".join(['["a","b"]'] * 1024) + "]"] * 64)
    + "]}",
    "500,000 counts of text": '{"mask":{"size":[50,70],"counts":[' + '"",' * 500_000 + '""]}}',
    "places with keys": '{"points":[' + ",".join(['{"a":1}'] * 40_000) + "]}",
}


@pytest.mark.parametrize("task", ["segment", "document"])
@pytest.mark.parametrize("name", BODIES)
def test_the_first_fault_is_enough(api: Api, monkeypatch, name: str, task: str) -> None:
    """Neither many errors are built, nor is a large body parsed on the event loop."""
    errors: list[int] = []
    parsed_by: list[str] = []
    parse = guard._parse

    def watch(body: bytes) -> object:
        parsed_by.append(threading.current_thread().name)
        return parse(body)

    def count(details: list, requests: type) -> str:
        errors.append(len(details))
        return "wrong"

    monkeypatch.setattr(guard, "_parse", watch)
    monkeypatch.setattr("pipelines.serve.refusal._line", lambda e, r: count(e.errors(), r))
    response = api.call(
        "POST",
        f"/v1/images/{api.upload()}/{task}",
        content=BODIES[name],
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code in (400, 413, 422)
    assert max(errors, default=0) <= 1024
    assert threading.current_thread().name not in parsed_by or len(BODIES[name]) <= guard.SMALL


def test_readiness_falls_while_work_is_stuck(make_api) -> None:
    api = make_api(seconds=0.2)
    path, held = f"/v1/images/{api.upload()}/segment", Held(api)
    refusal(api.post(path, QUESTION), 504)
    _until(lambda: api.get("/readyz").status_code == 503)
    assert "stuck" in refusal(api.get("/readyz"), 503)
    assert api.get("/healthz").status_code == 200
    held.gate.set()
    _until(lambda: api.get("/readyz").status_code == 200)


def test_clients_behind_a_proxy_are_told_apart(make_api) -> None:
    api, seen = make_api(), []
    image, run = api.upload(), api.desk.worker.run

    def watch(work):
        seen.append(CLIENT.get())
        return run(work)

    api.desk.worker.run = watch
    with served(api) as port:
        url = f"http://127.0.0.1:{port}/v1/images/{image}/segment"
        for headers in ({}, {"X-Forwarded-For": "192.0.2.7"}):
            httpx.post(url, json=QUESTION, headers=headers, trust_env=False)
    assert seen == ["127.0.0.1", "192.0.2.7"]


def test_requests_are_logged_without_what_is_secret(make_api, caplog) -> None:
    api = make_api()
    image = api.upload()
    with caplog.at_level("INFO", logger="pipelines.serve"):
        api.post(f"/v1/images/{image}/segment", QUESTION, headers={"X-Request-ID": "mine"})
    [line] = [record.message for record in caplog.records if "mine" in record.message]
    assert "POST /v1/images/{image_id}/segment 200" in line
    assert image not in caplog.text


def test_one_client_has_half_of_the_places(make_api) -> None:
    api = make_api(waiting=4)
    path, held = f"/v1/images/{api.upload()}/segment", Held(api)

    async def crowd(port: int) -> list[httpx.Response]:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:

            def ask(client: str):
                headers = {"X-Forwarded-For": client}
                return asyncio.ensure_future(http.post(path, json=QUESTION, headers=headers))

            first = [ask("192.0.2.7") for _ in range(2)]
            while api.desk.metrics.open < 2:
                await asyncio.sleep(0.01)
            third, other = await ask("192.0.2.7"), ask("192.0.2.8")
            while api.desk.metrics.open < 3:
                await asyncio.sleep(0.01)
            held.gate.set()
            return [third, await other, *await asyncio.gather(*first)]

    with served(api) as port:
        third, *others = asyncio.run(crowd(port))
    assert "2 requests of yours" in refusal(third, 429)
    assert [response.status_code for response in others] == [200] * 3
