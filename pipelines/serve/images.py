"""Routes of pictures: upload once, ask often."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response
from python_multipart.exceptions import FormParserError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pipelines.serve.answers import ImageInfo
from pipelines.serve.desk import Desk, desk_of
from pipelines.serve.guard import UPLOAD_PATH
from pipelines.serve.refusal import Refusal, responses

__all__ = ["AtDesk", "ImageId", "router"]

router = APIRouter(tags=["images"])
AtDesk = Annotated[Desk, Depends(desk_of)]
ImageId = Annotated[
    str, Path(max_length=64, description="As the upload returned it.", examples=["image_..."])
]
BINARY = {"schema": {"type": "string", "format": "binary"}}
RAW_TYPES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
FORM_TYPE = "multipart/form-data"
UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file's bytes; or a form with one file, named `file`.",
        "content": {
            **dict.fromkeys(RAW_TYPES, BINARY),
            FORM_TYPE: {
                "schema": {
                    "type": "object",
                    "properties": {"file": BINARY["schema"]},
                    "required": ["file"],
                }
            },
        },
    }
}


@router.post(
    UPLOAD_PATH,
    status_code=201,
    response_model=ImageInfo,
    responses=responses(408, 413, 415, 422, 507),
    openapi_extra=UPLOAD_BODY,
    summary="Upload a picture",
)
async def upload(request: Request, desk: AtDesk) -> Any:
    """Keep a JPEG, PNG or WebP picture, encoded for questions.

    As people see it: turned as its EXIF says, transparency on white, in sRGB; of an animation the
    first frame is taken. File names are ignored.
    """
    return await desk.upload(await _picture(request))


@router.get(
    f"{UPLOAD_PATH}/{{image_id}}",
    response_model=ImageInfo,
    responses=responses(404, 422),
    summary="Look at a picture's entry",
)
async def look(image_id: ImageId, desk: AtDesk) -> Any:
    """Size and memory of a picture; it counts as used."""
    return desk.describe(image_id, desk.images.get(image_id))


@router.delete(
    f"{UPLOAD_PATH}/{{image_id}}",
    status_code=204,
    responses=responses(404, 422),
    summary="Forget a picture",
)
async def forget(image_id: ImageId, desk: AtDesk) -> Response:
    """Forget a picture, and the sessions about it."""
    desk.images.get(image_id)
    desk.images.drop(image_id)
    return Response(status_code=204)


async def _picture(request: Request) -> bytes:
    """The bytes of the picture in a request.

    Raises:
        Refusal: no content type that is taken here, or a form without a file.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in RAW_TYPES:
        return await request.body()
    if kind != FORM_TYPE:
        raise Refusal(
            415,
            f"a picture comes as {', '.join(RAW_TYPES)} or {FORM_TYPE}; got {kind!r:.60}: set the "
            "Content-Type",
        )
    try:
        async with request.form(max_files=1, max_fields=0) as form:
            file = form.get("file")
            if file is None or isinstance(file, str):
                raise Refusal(422, "the form has no file named 'file'; add it")
            return await file.read()
    except HTTPException as error:
        raise Refusal(422, f"the form cannot be read: {error.detail}") from None
    except FormParserError as error:  # older versions of starlette let it through
        raise Refusal(422, f"the form cannot be read: {error}") from None
