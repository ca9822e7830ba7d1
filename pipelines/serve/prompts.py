"""Routes of questions about uploaded pictures."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from grounding.errors import LavallamaError
from pipelines.serve.answers import (
    Answer,
    Answers,
    FoundTexts,
    MaskFormat,
    Segments,
    answer,
    found_text,
    instance_segments,
    panoptic_segments,
    semantic_segments,
)
from pipelines.serve.desk import Desk
from pipelines.serve.images import AtDesk, ImageId
from pipelines.serve.questions import (
    BatchRequest,
    ClassesRequest,
    FindRequest,
    PanopticRequest,
    Question,
)
from pipelines.serve.refusal import Refusal, responses
from pipelines.serve.route import ParsedRoute
from pipelines.serve.worker import Stop
from seem.encoded_image import EncodedImage
from seem.predictor import Predictor
from seem.question import Prediction

__all__ = ["MasksAs", "check_segments", "router"]

router = APIRouter(
    route_class=ParsedRoute, tags=["questions"], responses=responses(404, 408, 413, 415, 422)
)
MasksAs = Annotated[
    MaskFormat, Query(description="Masks as COCO's run lengths, or as PNG files in base64.")
]
FULL_SIZE_FLOATS = 12  # bytes a query and pixel: restored, probability, product (seem.postprocess)


@router.post(
    "/v1/images/{image_id}/segment", response_model=Answer, summary="Segment what is marked or said"
)
async def segment(
    image_id: ImageId, question: Question, desk: AtDesk, masks: MasksAs = "rle"
) -> Any:
    """Answer one question: points, box, strokes, mask, text, reference; in any combination."""
    shown = _references([question], desk)

    def work(image: EncodedImage, stop: Stop) -> BaseModel:
        return answer(_ask(desk.predictor, image, question, shown), masks)

    return await desk.about(image_id, work)


@router.post("/v1/batch", response_model=Answers, summary="Ask many questions")
async def batch(request: BatchRequest, desk: AtDesk, masks: MasksAs = "rle") -> Any:
    """Answer many questions about one picture, or about many; all of them or none."""
    questions = request.questions
    images = {name: desk.images.get(name).encoded for name in {q.image_id for q in questions}}
    shown = _references(questions, desk)

    def work(stop: Stop) -> BaseModel:
        answers = []
        for index, question in enumerate(questions):
            stop.check()
            try:
                said = _ask(desk.predictor, images[question.image_id], question, shown)
            except LavallamaError as error:
                status = getattr(error, "status", 422)
                raise Refusal(status, f"questions[{index}]: {error}") from None
            answers.append(answer(said, masks))
        return Answers(answers=answers)

    return await desk.run(work)


@router.post(
    "/v1/images/{image_id}/find", response_model=FoundTexts, summary="Find all instances of texts"
)
async def find(
    image_id: ImageId, request: FindRequest, desk: AtDesk, masks: MasksAs = "rle"
) -> Any:
    """Find all instances of each text on the picture."""

    def work(image: EncodedImage, stop: Stop) -> BaseModel:
        _check_bitmaps(desk, image, "find")
        found = []
        for text in request.texts:
            stop.check()
            [said] = desk.predictor.find(
                [text], threshold=request.threshold, overlap=request.overlap
            )
            found.append(found_text(said, masks))
        height, width = image.size.original
        return FoundTexts(width=width, height=height, found=found)

    return await desk.about(image_id, work)


@router.post(
    "/v1/images/{image_id}/panoptic", response_model=Segments, summary="Share the picture out"
)
async def panoptic(
    image_id: ImageId, request: PanopticRequest, desk: AtDesk, masks: MasksAs = "rle"
) -> Any:
    """Give each pixel to one thing or stuff, or to none."""

    def work(image: EncodedImage, stop: Stop) -> BaseModel:
        names = desk.predictor.class_names(request.classes)
        check_segments(desk, image, "panoptic", len(names))
        _encode_names(desk.predictor, request.classes, stop)
        said = desk.predictor.panoptic(request.classes, things=request.things)
        return panoptic_segments(said, names, masks)

    return await desk.about(image_id, work)


@router.post(
    "/v1/images/{image_id}/instances",
    response_model=Segments,
    summary="Find the objects of classes",
)
async def instances(
    image_id: ImageId,
    request: PanopticRequest,
    desk: AtDesk,
    masks: MasksAs = "rle",
    threshold: Annotated[float, Query(ge=0, le=1, description="Least score, 0 to 1.")] = 0.5,
) -> Any:
    """Find objects one by one, the most certain first; they may overlap."""

    def work(image: EncodedImage, stop: Stop) -> BaseModel:
        names = desk.predictor.class_names(request.classes)
        check_segments(desk, image, "instances", len(names))
        _encode_names(desk.predictor, request.classes, stop)
        said = desk.predictor.instances(request.classes, things=request.things)
        return instance_segments(said, names, threshold, masks)

    return await desk.about(image_id, work)


@router.post(
    "/v1/images/{image_id}/semantic", response_model=Segments, summary="Name each pixel's class"
)
async def semantic(
    image_id: ImageId, request: ClassesRequest, desk: AtDesk, masks: MasksAs = "rle"
) -> Any:
    """Name the class of each pixel: one segment for each class that has any."""

    def work(image: EncodedImage, stop: Stop) -> BaseModel:
        names = desk.predictor.class_names(request.classes)
        check_segments(desk, image, "semantic", len(names))
        _encode_names(desk.predictor, request.classes, stop)
        return semantic_segments(desk.predictor.semantic(request.classes), names, masks)

    return await desk.about(image_id, work)


def check_segments(desk: Desk, image: EncodedImage, task: str, classes: int) -> None:
    """Refuse a picture that is too large to be shared out.

    Raises:
        Refusal: more memory would be needed than is allowed.
    """
    height, width = image.size.original
    if task == "panoptic":
        queries = len(desk.predictor.model.decoder.query_feat.weight)
        desk.check_work(height * width * queries * FULL_SIZE_FLOATS, task)
    elif task == "semantic":
        desk.check_work(height * width * classes * 4, task)
    else:
        _check_bitmaps(desk, image, task)


def _check_bitmaps(desk: Desk, image: EncodedImage, task: str) -> None:
    height, width = image.size.original
    queries = len(desk.predictor.model.decoder.query_feat.weight)
    desk.check_work(2 * height * width * queries, task)  # found, and stacked


def _encode_names(predictor: Predictor, classes: Sequence[str] | None, stop: Stop) -> None:
    """Encode new class names one by one, so that a client who leaves is not waited for."""
    for name in classes or ():
        stop.check()
        predictor.words.classes([name])


def _references(questions: Sequence[Question], desk: Desk) -> dict[str, EncodedImage]:
    """The pictures that questions refer to."""
    names = {q.reference.image_id for q in questions if q.reference is not None}
    return {name: desk.images.get(name).encoded for name in names}


def _ask(
    predictor: Predictor,
    image: EncodedImage,
    question: Question,
    shown: Mapping[str, EncodedImage],
) -> Prediction:
    exemplar = None
    if question.reference is not None:
        other = shown[question.reference.image_id]
        exemplar = predictor.exemplar(other, **question.reference.drawn(other.size.original))
    predictor.set_image(image)
    return predictor.predict(
        **question.drawn(image.size.original),
        text=question.text,
        reference=exemplar,
        multimask=question.multimask,
    )
