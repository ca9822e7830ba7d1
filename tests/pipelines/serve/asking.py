"""An app around the tiny model, and someone who asks it."""

import asyncio
import contextlib
import io
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import httpx
import numpy as np
from PIL import Image

from grounding.masks import rle_to_bitmap
from grounding.prompt import RleMask
from pipelines.serve.app import create_app
from pipelines.serve.server import Server, bind
from pipelines.serve.settings import Settings
from seem.predictor import Predictor
from tests.seem.predicting import picture, tiny_predictor


def file_of(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def bitmap_of(mask: dict[str, Any]) -> np.ndarray:
    return rle_to_bitmap(RleMask(**mask["rle"]))


def same(mask: dict[str, Any], bitmap: Any, score: Any) -> bool:
    """Whether an answer is a predictor's, to the last bit."""
    return np.array_equal(bitmap_of(mask), np.asarray(bitmap)) and mask["score"] == float(score)


class Api:
    """The app, called in this process, on a loop of its own."""

    def __init__(self, predictor: Predictor | None = None, **limits: Any) -> None:
        self.app = create_app(predictor or tiny_predictor(), Settings(**limits))
        self.desk = self.app.state.desk
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
        self._loop = asyncio.new_event_loop()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.run(self.http.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        return self.call("POST", path, json=json, **options)

    def send(self, data: bytes, kind: str = "image/png") -> httpx.Response:
        return self.call("POST", "/v1/images", content=data, headers={"Content-Type": kind})

    def upload(self, seed: int = 0) -> str:
        response = self.send(file_of(picture(seed)))
        assert response.status_code == 201, response.text
        return response.json()["image_id"]

    def begin(self, image: str) -> str:
        response = self.post("/v1/sessions", {"image_id": image})
        assert response.status_code == 201, response.text
        return response.json()["session_id"]

    def close(self) -> None:
        self.run(self.http.aclose())
        self.desk.worker.close()
        self._loop.close()


def refusal(response: httpx.Response, status: int) -> str:
    """The line of a refusal, which is all there is."""
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["error"]
    assert "\n" not in body["error"]
    return body["error"]


@contextlib.contextmanager
def served(api: Api) -> Iterator[int]:
    """The app behind a real socket; yields its port."""
    door = bind("127.0.0.1", 0)
    server = Server(api.app, api.desk.settings)
    server.config.lifespan, api.server = "off", server
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield door.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        door.close()
