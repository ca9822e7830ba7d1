"""Routes of prompt documents: the language that all of lavallama's tasks share."""

import io
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response
from starlette.requests import Request

from grounding.draw import draw_regions
from grounding.prompt import GroundedPrompt
from pipelines.serve.cost import Task
from pipelines.serve.desk import Upload
from pipelines.serve.guard import PARSED
from pipelines.serve.images import AtDesk, ImageId
from pipelines.serve.prompts import check_cost
from pipelines.serve.questions import MAX_CLASSES, MAX_POINTS, MAX_QUESTIONS, MAX_STROKES
from pipelines.serve.refusal import Refusal, responses
from pipelines.serve.route import ParsedRoute
from pipelines.serve.uploads import decode_picture
from pipelines.serve.worker import check_stop

__all__ = ["overlay_png", "router"]

router = APIRouter(
    route_class=ParsedRoute, tags=["documents"], responses=responses(404, 408, 413, 415, 422)
)
OVERLAY_SIDE = 512  # pixels: smaller pictures are enlarged, so that labels can be read
MODES: dict[str, Task] = {
    "panoptic": "panoptic",
    "instance": "instances",
    "semantic": "semantic",
}
DOCUMENT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/GroundedPrompt"},
                "example": {"regions": [{"points": [{"xy": [0.5, 0.4]}]}, {"phrase": "volcano"}]},
            }
        },
    }
}
BYTES_TYPE = "application/octet-stream"  # which generators of clients know as a file
PNG_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A PNG picture.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/png", BYTES_TYPE)
        },
    }
}


@router.post(
    "/v1/images/{image_id}/document",
    response_model=GroundedPrompt,
    openapi_extra=DOCUMENT_BODY,
    summary="Answer a prompt document",
)
async def document(image_id: ImageId, request: Request, desk: AtDesk) -> Any:
    """Answer a document: each region gets its mask, box and score; or regions are found.

    Coordinates are fractions of the picture. `segment.mode` says what is asked. A region's
    `reference.image` is the id of an uploaded picture; paths and addresses are never followed.
    """
    upload, body = desk.images.get(image_id), request.scope.get(PARSED)
    asked = await desk.worker.run(lambda: _read(body, desk.settings.pixels))
    named = (r.reference.image for r in asked.regions if r.reference is not None)
    shown = {name: desk.images.get(name) for name in named if name is not None}

    def work() -> Response:
        if asked.segment is not None and asked.segment.mode in MODES:
            names = desk.predictor.class_names(asked.segment.classes or None)
            check_cost(desk, upload.encoded, MODES[asked.segment.mode], len(names))
        else:
            check_cost(desk, upload.encoded, "prompt", len(asked.regions))
        desk.predictor.set_image(upload.encoded)
        pictures = _pictures(shown, desk.settings.pixels)
        said = desk.predictor.predict_document(asked, references=pictures)
        return Response(said.canonical_json(), media_type="application/json")

    return await desk.worker.run(work)


@router.post(
    "/v1/images/{image_id}/overlay.png",
    response_class=Response,
    responses=PNG_RESPONSE,
    openapi_extra=DOCUMENT_BODY,
    summary="Draw a document over a picture",
)
async def overlay(image_id: ImageId, request: Request, desk: AtDesk) -> Any:
    """Draw the regions of a document over the picture; nothing is asked of the model."""
    upload, body = desk.images.get(image_id), request.scope.get(PARSED)

    def work() -> Response:
        document = _read(body, desk.settings.pixels)
        return overlay_png(request, upload, document, desk.settings.pixels)

    return await desk.worker.run(work)


def overlay_png(
    request: Request, upload: Upload, document: GroundedPrompt, max_pixels: int
) -> Response:
    """A PNG of the picture with a document's regions drawn on it, under the name that is asked for.

    Args:
        request: Says what is accepted.
        upload: The picture.
        document: Whose regions to draw.
        max_pixels: Of the picture.
    """
    picture = decode_picture(upload.data, max_pixels)
    file = io.BytesIO()
    drawn = draw_regions(picture, document, min_side=OVERLAY_SIDE, check=check_stop)
    drawn.save(file, "PNG")
    plain = request.headers.get("accept", "").strip() == BYTES_TYPE
    return Response(file.getvalue(), media_type=BYTES_TYPE if plain else "image/png")


def _read(body: object, max_pixels: int) -> GroundedPrompt:
    """Read a document of bounded size.

    Raises:
        LavallamaError: none, or too large.
    """
    asked = GroundedPrompt.model_validate(body)
    if len(asked.regions) > MAX_QUESTIONS:
        raise Refusal(422, f"a document may ask for {MAX_QUESTIONS} regions; got more: split it")
    if asked.segment is not None and len(asked.segment.classes) > MAX_CLASSES:
        raise Refusal(422, f"segment.classes may name {MAX_CLASSES} classes; got more")
    for region in asked.regions:
        if len(region.points) > MAX_POINTS or len(region.strokes) > MAX_STROKES:
            raise Refusal(
                422,
                f"region {region.id!r}: at most {MAX_POINTS} points and {MAX_STROKES} strokes; got "
                f"{len(region.points)} and {len(region.strokes)}",
            )
        if region.mask is not None and region.mask.size[0] * region.mask.size[1] > max_pixels:
            raise Refusal(422, f"region {region.id!r}: its mask has more than {max_pixels} pixels")
    return asked


def _pictures(shown: Mapping[str, Upload], max_pixels: int) -> dict[str, Any]:
    return {name: decode_picture(upload.data, max_pixels) for name, upload in shown.items()}
