"""The HTTP API as an ASGI app: `create_app(predictor, settings)`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from pipelines.serve import documents, health, images, prompts, sessions
from pipelines.serve.desk import Desk
from pipelines.serve.guard import DOCS_FILES, OPEN_PATHS, Guard
from pipelines.serve.metrics import Metrics
from pipelines.serve.questions import AnyRequest
from pipelines.serve.refusal import answer_errors
from pipelines.serve.settings import Settings
from seem.predictor import Predictor

__all__ = ["create_app"]

ROUTERS = (health.router, images.router, prompts.router, documents.router, sessions.router)
TIDY_S = 30.0  # idle things are also forgotten while nobody asks for anything
ABOUT = """Promptable segmentation. Upload a picture once (`POST /v1/images`), then ask about it.

Geometry is in pixels of the uploaded picture as browsers show it, turned as its EXIF says (the
`width` and `height` of the answers), origin at the top left, boxes are
`[x0, y0, x1, y1]`; only prompt documents use fractions. Masks come as COCO's run lengths, or as
PNG files with `?masks=png`. The same picture and question give the same bits, whatever else the
server does. Every error is one line: `{"error": "..."}`.
"""


def create_app(predictor: Predictor, settings: Settings | None = None) -> FastAPI:
    """Make the app around a model.

    Args:
        predictor: Belongs to the app from now on.
        settings: Its limits; None: the defaults, without a token.
    """
    settings = Settings() if settings is None else settings
    metrics = Metrics()
    desk = Desk(predictor, settings, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if desk.worker.closed:
            desk.worker.open()
        tidying = asyncio.ensure_future(_tidy(desk))
        try:
            yield
        finally:
            tidying.cancel()
            await asyncio.to_thread(desk.worker.close)  # in bounded time

    app = FastAPIOffline(  # its page needs no network
        title="lavallama segment",
        version="1",
        description=ABOUT,
        lifespan=lifespan,
        redoc_url=None,
        static_url=DOCS_FILES,
        separate_input_output_schemas=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.desk = desk
    for router in ROUTERS:
        app.include_router(router)
    routes = [route for router in ROUTERS for route in router.routes]
    answer_errors(app, AnyRequest, [*routes, *app.routes])
    app.add_middleware(Guard, settings=settings, metrics=metrics)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    if settings.token is not None:
        _say_token(app)
    return app


def _operation_id(route: APIRoute) -> str:
    """What generated clients call an operation, whatever its path is: `sessions_undo`."""
    return f"{route.tags[0] if route.tags else 'app'}_{route.name}"


async def _tidy(desk: Desk) -> None:
    while True:
        await asyncio.sleep(TIDY_S)
        desk.tidy()


def _say_token(app: FastAPI) -> None:
    """Let the OpenAPI document say that a bearer token is needed."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["token"] = {"type": "http", "scheme": "bearer"}
        schema["security"] = [{"token": []}]
        for path in OPEN_PATHS & schema["paths"].keys():
            for operation in schema["paths"][path].values():
                operation["security"] = []
        return schema

    app.openapi = openapi
