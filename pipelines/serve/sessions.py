"""Routes of interactive sessions: marks add up, each answer refines the last."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from starlette.requests import Request

from grounding.errors import PromptError
from grounding.masks import bitmap_to_box, bitmap_to_rle
from grounding.prompt import GroundedPrompt, Region
from pipelines.serve.answers import MaskFormat, SessionAnswer, answer
from pipelines.serve.desk import Desk, OpenSession, answer_json
from pipelines.serve.documents import PNG_RESPONSE, overlay_png
from pipelines.serve.images import AtDesk
from pipelines.serve.prompts import MasksAs
from pipelines.serve.questions import MarksRequest, SessionRequest
from pipelines.serve.refusal import Refusal, responses
from pipelines.serve.route import ParsedRoute
from pipelines.serve.settings import MIB
from seem.session import Session

__all__ = ["router"]

router = APIRouter(
    route_class=ParsedRoute, tags=["sessions"], responses=responses(404, 408, 413, 415, 422)
)
SessionId = Annotated[
    str, Path(max_length=64, description="As its begin returned it.", examples=["session_..."])
]
KnownRounds = Annotated[
    int | None,
    Query(
        ge=0,
        description="The `rounds` of the last answer that came. If the session has others (an "
        "answer was lost, and this is asked again), nothing is changed: 409.",
    ),
]
CONFLICT = responses(409)


@router.post(
    "/v1/sessions", status_code=201, response_model=SessionAnswer, summary="Begin a session"
)
async def begin(request: SessionRequest, desk: AtDesk) -> Any:
    """Begin to segment one object of an uploaded picture, round by round."""
    upload = desk.images.get(request.image_id)

    def start() -> Session:
        desk.predictor.set_image(upload.encoded)
        return Session(desk.predictor)

    session = await desk.worker.run(start)
    desk.images.get(request.image_id)  # it may have gone while others were served
    opened = OpenSession(image_id=request.image_id, session=session)
    said = _state(desk, desk.sessions.put(opened), opened, "rle")
    return Response(said.model_dump_json(exclude_none=True), 201, media_type="application/json")


@router.get("/v1/sessions/{session_id}", response_model=SessionAnswer, summary="Look at a session")
async def look(session_id: SessionId, desk: AtDesk, masks: MasksAs = "rle") -> Any:
    """The current answer, the same bits as when it was given."""
    return await _change(desk, session_id, masks, lambda opened: None)


@router.post(
    "/v1/sessions/{session_id}/marks",
    response_model=SessionAnswer,
    responses=CONFLICT,
    summary="Say more",
)
async def marks(
    session_id: SessionId,
    request: MarksRequest,
    desk: AtDesk,
    masks: MasksAs = "rle",
    rounds: KnownRounds = None,
) -> Any:
    """Add marks, and answer with all that was said; what was undone is forgotten."""

    def change(opened: OpenSession) -> None:
        session = opened.session
        if len(session) >= desk.settings.rounds:
            raise Refusal(
                409, f"a session keeps {desk.settings.rounds} rounds; undo, reset or begin anew"
            )
        size, share = session.image.size.original, desk.settings.session_bytes
        more = 0 if request.mask is None else size[0] * size[1]
        if session.kept_bytes + more > share:
            raise Refusal(
                409,
                f"a session may take {share / MIB:g} MiB of memory, with this it would take more; "
                "undo, reset or begin anew",
            )
        session.add(text=request.text, **request.drawn(size))

    return await _change(desk, session_id, masks, change, rounds)


@router.post(
    "/v1/sessions/{session_id}/undo",
    response_model=SessionAnswer,
    responses=CONFLICT,
    summary="Take the last round back",
)
async def undo(
    session_id: SessionId, desk: AtDesk, masks: MasksAs = "rle", rounds: KnownRounds = None
) -> Any:
    """Take the last round back; the answer before it returns bit for bit."""
    return await _change(desk, session_id, masks, lambda it: _step(it.session.undo), rounds)


@router.post(
    "/v1/sessions/{session_id}/redo",
    response_model=SessionAnswer,
    responses=CONFLICT,
    summary="Bring an undone round back",
)
async def redo(
    session_id: SessionId, desk: AtDesk, masks: MasksAs = "rle", rounds: KnownRounds = None
) -> Any:
    """Bring the last undone round back, bit for bit."""
    return await _change(desk, session_id, masks, lambda it: _step(it.session.redo), rounds)


@router.post(
    "/v1/sessions/{session_id}/reset",
    response_model=SessionAnswer,
    responses=CONFLICT,
    summary="Forget all marks",
)
async def reset(session_id: SessionId, desk: AtDesk, rounds: KnownRounds = None) -> Any:
    """Forget everything but the picture."""
    return await _change(desk, session_id, "rle", lambda it: it.session.reset(), rounds)


@router.delete("/v1/sessions/{session_id}", status_code=204, summary="End a session")
async def end(session_id: SessionId, desk: AtDesk) -> Response:
    """Forget the session; its picture stays."""
    desk.sessions.get(session_id)
    desk.sessions.drop(session_id)
    return Response(status_code=204)


@router.get(
    "/v1/sessions/{session_id}/overlay.png",
    response_class=Response,
    responses=PNG_RESPONSE,
    summary="See a session",
)
async def overlay(session_id: SessionId, request: Request, desk: AtDesk) -> Any:
    """The picture with the marks and the current answer drawn on it."""
    opened = desk.open_session(session_id)
    upload = desk.images.get(opened.image_id)

    def work() -> Response:
        return overlay_png(request, upload, _document(opened.session), desk.settings.pixels)

    return await desk.worker.run(work)


async def _change(
    desk: Desk,
    session_id: str,
    masks: MaskFormat,
    change: Callable[[OpenSession], None],
    rounds: int | None = None,
) -> Response:
    """Change a session on the model's thread, where changes come one after the other."""
    opened = desk.open_session(session_id)

    def work() -> Response:
        now = len(opened.session)
        if rounds is not None and rounds != now:
            raise Refusal(
                409,
                f"the session has {now} rounds, not {rounds}: an answer was lost, or another "
                "client is at work; look at it (GET) before you go on",
            )
        change(opened)
        opened.bytes = opened.session.bytes
        return answer_json(_state(desk, session_id, opened, masks))

    return await desk.worker.run(work)


def _state(desk: Desk, name: str, opened: OpenSession, masks: MaskFormat) -> SessionAnswer:
    session = opened.session
    height, width = session.image.size.original
    said = session.answer
    return SessionAnswer(
        session_id=name,
        image_id=opened.image_id,
        width=width,
        height=height,
        rounds=len(session),
        expires_s=desk.settings.idle_s,
        mask=None if said is None else answer(said, masks).masks[0],
    )


def _step(step: Callable[[], Any]) -> None:
    """Undo or redo.

    Raises:
        Refusal: there is nothing to take back, or to bring back.
    """
    try:
        step()
    except PromptError as error:
        raise Refusal(409, str(error)) from None


def _document(session: Session) -> GroundedPrompt:
    """The marks and the answer as one region."""
    said, drawn = session.answer, session.marks
    if said is None:
        return GroundedPrompt()
    bitmap = said.masks[0].cpu().numpy()
    region = Region(
        id="object",
        box=bitmap_to_box(bitmap),
        mask=bitmap_to_rle(bitmap),
        points=drawn.points,
        strokes=drawn.strokes,
        score=min(1.0, max(0.0, float(said.scores[0]))),
    )
    return GroundedPrompt(regions=(region,))
