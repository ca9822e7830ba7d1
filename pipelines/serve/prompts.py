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
from pipelines.serve.cost import Task, peak_bytes
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
from pipelines.serve.worker import check_stop
from seem.encoded_image import EncodedImage
from seem.predictor import Predictor
from seem.question import Prediction

__all__ = ["MasksAs", "check_cost", "router"]

router = APIRouter(
    route_class=ParsedRoute, tags=["questions"], responses=responses(404, 408, 413, 415, 422)
)
MasksAs = Annotated[
    MaskFormat, Query(description="Masks as COCO's run lengths, or as PNG files in base64.")
]


@router.post(
    "/v1/images/{image_id}/segment", response_model=Answer, summary="Segment what is marked or said"
)
async def segment(
    image_id: ImageId, question: Question, desk: AtDesk, masks: MasksAs = "rle"
) -> Any:
    """Answer one question: points, box, strokes, mask, text, reference; in any combination."""
    shown = _references([question], desk)

    def work(image: EncodedImage) -> BaseModel:
        return answer(_ask(desk.predictor, image, question, shown), masks)

    return await desk.about(image_id, work)


@router.post("/v1/batch", response_model=Answers, summary="Ask many questions")
async def batch(request: BatchRequest, desk: AtDesk, masks: MasksAs = "rle") -> Any:
    """Answer many questions about one picture, or about many; all of them or none."""
    questions = request.questions
    images = {name: desk.images.get(name).encoded for name in {q.image_id for q in questions}}
    shown = _references(questions, desk)

    def work() -> BaseModel:
        answers = []
        for index, question in enumerate(questions):
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

    def work(image: EncodedImage) -> BaseModel:
        check_cost(desk, image, "find")
        found = []
        for text in request.texts:
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

    def work(image: EncodedImage) -> BaseModel:
        names = desk.predictor.class_names(request.classes)
        check_cost(desk, image, "panoptic", len(names))
        _encode_names(desk.predictor, request.classes)
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

    def work(image: EncodedImage) -> BaseModel:
        names = desk.predictor.class_names(request.classes)
        check_cost(desk, image, "instances", len(names))
        _encode_names(desk.predictor, request.classes)
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

    def work(image: EncodedImage) -> BaseModel:
        names = desk.predictor.class_names(request.classes)
        check_cost(desk, image, "semantic", len(names))
        _encode_names(desk.predictor, request.classes)
        return semantic_segments(desk.predictor.semantic(request.classes), names, masks)

    return await desk.about(image_id, work)


def check_cost(desk: Desk, image: EncodedImage, task: Task, count: int = 0) -> None:
    """Refuse what would take too much memory.

    Args:
        desk: Has the model, and its limits.
        image: What is asked about.
        task: What is asked.
        count: Classes of a semantic map, questions of a prompt.

    Raises:
        Refusal: more would be needed than is allowed, or than there is.
    """
    height, width = image.size.original
    most = desk.predictor.most_found
    desk.check_work(peak_bytes(task, height * width, queries=most, count=count), task)


def _encode_names(predictor: Predictor, classes: Sequence[str] | None) -> None:
    """Encode new class names one by one, so that a client who leaves is not waited for."""
    for name in classes or ():
        check_stop()
        predictor.read_class(name)


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
