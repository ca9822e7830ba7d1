"""Routes that take the JSON which the guard has parsed, instead of parsing it again."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from pipelines.serve.guard import PARSED

__all__ = ["ParsedRoute"]


class ParsedRequest(Request):
    """A request whose JSON is parsed."""

    async def json(self) -> Any:
        """The body's value: duplicates and depth have been checked, a byte order mark taken off."""
        return self.scope[PARSED]


class ParsedRoute(APIRoute):
    """FastAPI's own way to another request class: https://fastapi.tiangolo.com/how-to/custom-request-and-route/."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Hand the handler such a request."""
        handle = super().get_route_handler()

        async def handle_parsed(request: Request) -> Response:
            return await handle(ParsedRequest(request.scope, request.receive))

        return handle_parsed
