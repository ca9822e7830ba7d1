"""What the server answers when it will not, or cannot, do what it is asked: one line of JSON."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import InitErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from grounding.errors import LavallamaError
from grounding.part import explain
from pipelines.console import one_line

__all__ = ["REASONS", "Problem", "Refusal", "answer_errors", "problem", "responses"]

REASONS = {
    400: "The body is not valid JSON, or is nested too deeply; or the host name is not ours.",
    401: "The bearer token is missing or wrong.",
    403: "A web page of another origin may not ask for this.",
    404: "There is no such image, session or path: never was, expired, made room for others, or "
    "the server was started anew.",
    405: "This path does not take this method.",
    408: "The body did not arrive in time.",
    409: "Nothing to undo or redo, the session is full, or has other rounds than expected.",
    413: "Too large: the body, the picture, or the memory that the answer would need.",
    415: "The content type, or the kind of picture, is not taken here.",
    422: "The request is understood and makes no sense: the line says where, and the cure.",
    429: "Too many requests are waiting; come back after `Retry-After` seconds.",
    500: "A fault of the server.",
    503: "Stopping, out of memory or room, or stuck; come back after `Retry-After` seconds.",
    507: "The server's disk is full.",
    504: "The answer took longer than the time limit of a request.",
}
RETRY_S = {429: "1", 503: "5"}
ANYWHERE = (400, 401, 403, 429, 500, 503, 504)  # whatever the path


class Problem(BaseModel):
    """Why there is no answer."""

    error: str = Field(
        description="One line: what was expected, what came, the cure.",
        examples=["points must lie on the image of 640 x 480 pixels; got x=900, y=20"],
    )


class Refusal(LavallamaError):  # noqa: N818  (it is an answer)
    """A request that gets no answer, and the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def problem(status: int, message: object) -> JSONResponse:
    """The response that carries one line."""
    headers = {"Retry-After": RETRY_S[status]} if status in RETRY_S else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": one_line(message)}, status, headers)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of errors: those of every path, and some more."""
    return {
        status: {"model": Problem, "description": REASONS[status]}
        for status in sorted({*ANYWHERE, *statuses})
    }


def answer_errors(app: FastAPI, requests: type[BaseModel], routes: Sequence[BaseRoute]) -> None:
    """Answer every foreseeable error with its status and one line.

    Args:
        app: Is told how.
        requests: Holds all models of requests: misspelt fields are looked up there.
        routes: All of them: each method that a path takes is one.
    """

    async def refused(request: Request, error: Exception) -> JSONResponse:
        return problem(getattr(error, "status", 422), error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError), "registered for nothing else"
        return problem(422, _line(error, requests))

    async def unrouted(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException), "registered for nothing else"
        path = one_line(request.url.path, 200)
        said = {
            404: f"there is no {path}; /docs lists what there is",
            405: f"{path} does not take {request.method}; /docs lists what it takes",
        }
        answer = problem(error.status_code, said.get(error.status_code, error.detail))
        if error.status_code == 405:
            answer.headers["Allow"] = ", ".join(_methods(request.url.path, routes))
        return answer

    app.add_exception_handler(LavallamaError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, unrouted)


def _methods(path: str, routes: Sequence[BaseRoute]) -> list[str]:
    """What a path takes."""
    taken: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.path_regex.match(path):
            taken |= set(route.methods or ())
    if "GET" in taken:
        taken.add("HEAD")
    return sorted(taken)


def _line(error: RequestValidationError, requests: type[BaseModel]) -> str:
    """The first problem as `grounding.part.explain` says it, without "body" before the place."""
    details = []
    for item in error.errors():
        kind, context = item["type"], item.get("ctx", {})
        if kind == "json_invalid":
            return "the body is not valid JSON"
        place = tuple(item["loc"])[1:] or tuple(item["loc"])
        details.append(InitErrorDetails(type=kind, loc=place, input=item.get("input"), ctx=context))
    return explain(ValidationError.from_exception_data("request", details), requests)
