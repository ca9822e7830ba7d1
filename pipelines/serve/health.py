"""Routes for those who run the server: is it alive, can it answer, what does it do."""

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from pipelines.serve.images import AtDesk
from pipelines.serve.refusal import Refusal, responses

__all__ = ["router"]

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """A sign of life."""

    status: str = Field(description='Always "ok".', examples=["ok"])


@router.get("/healthz", responses=responses(), summary="Alive?")
async def healthz() -> Health:
    """Answers while the process lives, however busy the model is; needs no token."""
    return Health(status="ok")


@router.get("/readyz", responses=responses(), summary="Ready?")
async def readyz(desk: AtDesk) -> Health:
    """503 once the server is stopping, or while work is stuck; needs no token."""
    if desk.stopping or desk.worker.closed:
        raise Refusal(503, "the server is stopping")
    if desk.worker.busy_s > desk.settings.seconds:
        raise Refusal(503, f"work is stuck: it has taken {desk.worker.busy_s:.0f} s")
    return Health(status="ok")


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        **responses(),
        200: {
            "description": "Prometheus' text format.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
    },
    summary="Counts and times",
)
async def metrics(desk: AtDesk) -> Response:
    """Requests, times, pictures and sessions kept, for Prometheus."""
    text = desk.metrics.text(desk.gauges())
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
