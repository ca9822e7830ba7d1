"""What the server works with: the predictor, its thread, the pictures and sessions of clients."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
from fastapi import Response
from pydantic import BaseModel
from starlette.requests import Request
from torch import Tensor

from pipelines.serve.answers import ImageInfo
from pipelines.serve.memory import free_bytes
from pipelines.serve.metrics import Metrics
from pipelines.serve.refusal import Refusal
from pipelines.serve.settings import MIB, Settings
from pipelines.serve.shelf import Shelf
from pipelines.serve.uploads import check_picture, decode_picture
from pipelines.serve.worker import Worker, check_stop
from seem.encoded_image import EncodedImage
from seem.predictor import Predictor
from seem.session import Session

__all__ = ["Desk", "OpenSession", "Upload", "answer_json", "desk_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Upload:
    """A picture as it came, and as the model sees it."""

    data: bytes
    encoded: EncodedImage

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.encoded.size.original

    @property
    def bytes(self) -> int:
        """Memory that it takes now."""
        return len(self.data) + _bytes(self.encoded)


@dataclass(kw_only=True, eq=False)
class OpenSession:
    """A session, and about how much memory its rounds take; only work touches them."""

    image_id: str
    session: Session
    bytes: int = 0


class Desk:
    """The state of one server. Shelves belong to the event loop, the predictor to the worker."""

    def __init__(self, predictor: Predictor, settings: Settings, metrics: Metrics) -> None:
        self.predictor, self.settings, self.metrics = predictor, settings, metrics
        predictor.check = check_stop
        self.worker = Worker()
        self.stopping = False
        self.sessions: Shelf[OpenSession] = Shelf(
            "session",
            count=settings.sessions,
            size=settings.session_cache_bytes,
            idle_s=settings.idle_s,
            weigh=lambda session: session.bytes,
        )
        self.images: Shelf[Upload] = Shelf(
            "image",
            count=settings.images,
            size=settings.image_cache_bytes,
            idle_s=settings.idle_s,
            weigh=lambda upload: upload.bytes,
            removed=self._end_sessions,
        )

    async def upload(self, data: bytes) -> ImageInfo:
        """Keep a picture and encode it.

        Raises:
            LavallamaError: not a picture that is taken here.
        """
        check_picture(data, self.settings.pixels)
        self.images.check_room()

        def encode() -> Upload:
            picture = decode_picture(data, self.settings.pixels)
            return Upload(data=data, encoded=self.predictor.encode(picture))

        upload = await self.worker.run(encode)
        return self.describe(self.images.put(upload), upload)

    def describe(self, name: str, upload: Upload) -> ImageInfo:
        """What the client may know of its picture."""
        height, width = upload.size
        return ImageInfo(
            image_id=name,
            width=width,
            height=height,
            bytes=upload.bytes,
            expires_s=self.settings.idle_s,
        )

    async def about(self, name: str, work: Callable[[EncodedImage], BaseModel]) -> Response:
        """Ask about a picture on the model's thread; the answer becomes JSON there, too.

        Raises:
            LavallamaError: no such picture, or the work says so.
        """
        return await self.run(partial(self._about, self.images.get(name).encoded, work))

    async def run(self, work: Callable[[], BaseModel]) -> Response:
        """Do work on the model's thread; the answer becomes JSON there, too."""
        return await self.worker.run(lambda: answer_json(work()))

    def open_session(self, name: str) -> OpenSession:
        """The session of that id; its picture counts as used, too.

        Raises:
            Refusal: there is none (any more).
        """
        session = self.sessions.get(name)
        self.images.get(session.image_id)
        return session

    def check_work(self, size: int, what: str) -> None:
        """Refuse what would need too much memory.

        Raises:
            Refusal: more bytes than are allowed (413), or than there are now (503).
        """
        if size > self.settings.work_bytes:
            raise Refusal(
                413,
                f"{what} may take {size / MIB:.0f} MiB of memory at this picture's size, the limit "
                f"is {self.settings.work_bytes / MIB:.0f} MiB; upload a smaller picture, or name "
                "fewer classes",
            )
        if size > (free := free_bytes()):
            raise Refusal(
                503,
                f"out of memory: {what} may take {size / MIB:.0f} MiB at this picture's size, "
                f"{free / MIB:.0f} MiB are free; come back later, or upload a smaller picture",
            )

    def gauges(self) -> dict[str, tuple[str, float]]:
        """What there is now, for the metrics."""
        return {
            "lavallama_requests_open": ("Requests in the house.", self.metrics.open),
            "lavallama_body_bytes": ("Bodies of them.", self.metrics.body_bytes),
            "lavallama_connections": ("Connections open.", self.metrics.connections),
            "lavallama_connections_dropped_total": (
                "Idle connections closed to make room.",
                self.metrics.dropped_connections,
            ),
            "lavallama_work_waiting": (
                "Pieces of work in line for the model.",
                self.worker.waiting,
            ),
            "lavallama_work_seconds": (
                "Time that the piece of work has taken that is being done; 0: none is.",
                self.worker.busy_s,
            ),
            "lavallama_wrong_tokens_total": (
                "Requests with a wrong token.",
                self.metrics.wrong_tokens,
            ),
            "lavallama_images": ("Pictures kept.", len(self.images)),
            "lavallama_image_bytes": ("Memory of the pictures kept.", self.images.bytes),
            "lavallama_images_dropped_total": (
                "Pictures forgotten: idle, or to make room.",
                self.images.dropped,
            ),
            "lavallama_sessions": ("Sessions kept.", len(self.sessions)),
            "lavallama_session_bytes": ("Memory of the sessions kept.", self.sessions.bytes),
            "lavallama_sessions_dropped_total": (
                "Sessions forgotten: idle, or to make room.",
                self.sessions.dropped,
            ),
        }

    def tidy(self) -> None:
        """Forget what is idle for too long."""
        self.images.tidy()
        self.sessions.tidy()

    def _about(self, image: EncodedImage, work: Callable[[EncodedImage], BaseModel]) -> BaseModel:
        self.predictor.set_image(image)
        return work(image)

    def _end_sessions(self, image_id: str) -> None:
        self.sessions.drop_where(lambda session: session.image_id == image_id)


def answer_json(answer: BaseModel) -> Response:
    """Write an answer; absent fields are left out."""
    return Response(answer.model_dump_json(exclude_none=True), media_type="application/json")


def desk_of(request: Request) -> Desk:
    """The server's state, as a FastAPI dependency."""
    return request.app.state.desk


def _bytes(part: Any) -> int:
    """What the tensors and arrays of nested dataclasses, tuples and dicts take."""
    if isinstance(part, (Tensor, np.ndarray)):
        return part.nbytes
    if isinstance(part, dict):
        return _bytes(list(part.values()))  # at once: the model's thread may add to it
    if isinstance(part, (tuple, list)):
        return sum(map(_bytes, part))
    if hasattr(part, "__dataclass_fields__"):
        return sum(_bytes(getattr(part, field.name)) for field in fields(part))
    return 0
