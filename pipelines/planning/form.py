"""How a language model is asked for a layout, and how its answer is read: parsed, never evaluated.

Two forms: the text of LLM-grounded Diffusion (Lian et al., arXiv 2305.13655, section 3.1) for
models that learn from examples in the conversation, and that of the embedded model, which was
trained to answer it. Words and examples are our own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from grounding.errors import AnswerError, LavallamaError, PromptError
from grounding.formats.fields import as_numbers
from grounding.formats.lgd import LGD_CANVAS, parse_lgd_text
from grounding.geometry import Box, box_area, clip_xyxy, pixels_to_normalized, xywh_to_xyxy
from grounding.llava.box_text import LlavaText
from grounding.llava.conversation import Conversation, Turn
from grounding.prompt import GroundedPrompt, Region
from grounding.stickers.plans import PLAN

__all__ = ["EXAMPLES", "Answer", "LgdForm", "PlanForm", "StickerForm"]

SYSTEM = """\
You lay out pictures. The user gives a caption; you say where each thing in it goes, on a canvas \
of 512 x 512 pixels whose origin is at the top left. Answer with three lines and nothing else:
Objects: a list of (phrase, [x, y, width, height]), one entry for every single thing; x and y are \
of its top left corner
Background prompt: what lies behind the things, or what kind of picture it is
Negative prompt: what the caption says must not be there, or None

Rules: as many entries as the caption has things, so three dogs are three entries. Keep colours \
and materials in the phrases. Boxes lie inside the canvas, are large enough to be seen, and cover \
each other only where one thing is on, in or before another. What is left of something has a \
smaller x, what is above something a smaller y. What must not be there, and the background, get no \
box."""

EXAMPLES: tuple[tuple[str, str], ...] = (
    (
        "two ice foxes left of a lighthouse on a rocky coast",
        "Objects: [('ice fox', [24, 96, 190, 176]), ('ice fox', [36, 300, 196, 180]), "
        "('lighthouse', [304, 40, 176, 440])]\n"
        "Background prompt: a rocky coast\nNegative prompt: None",
    ),
    (
        "a blue teapot above a wooden chair, without cups",
        "Objects: [('blue teapot', [166, 30, 190, 150]), ('wooden chair', [136, 210, 250, 286])]\n"
        "Background prompt: a plain room\nNegative prompt: cups",
    ),
    (
        "a photo of four balloons over a village at dawn",
        "Objects: [('balloon', [30, 40, 100, 130]), ('balloon', [150, 90, 100, 130]), "
        "('balloon', [270, 30, 100, 130]), ('balloon', [386, 110, 100, 130])]\n"
        "Background prompt: a photo of a village at dawn\nNegative prompt: None",
    ),
    (
        "a gold crown on a white horse, an owl to the right of the horse, no riders",
        "Objects: [('gold crown', [150, 36, 110, 84]), ('white horse', [40, 110, 300, 370]), "
        "('owl', [384, 190, 104, 140])]\n"
        "Background prompt: a picture\nNegative prompt: riders",
    ),
)
"""Captions and answers that a model is shown."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A layout as a model gave it.

    Attributes:
        document: The boxes that lie on the canvas.
        repairs: What had to be done to them.
    """

    document: GroundedPrompt
    repairs: tuple[str, ...] = ()


class PlanForm(Protocol):
    """A way to ask for layouts."""

    def ask(self, caption: str) -> Conversation:
        """Return what the model is told."""
        ...

    def read(self, text: str) -> Answer:
        """Read what it answers.

        Raises:
            LavallamaError: there is no layout in it.
        """
        ...


class LgdForm:
    """LLM-grounded Diffusion's form, with examples."""

    def ask(self, caption: str) -> Conversation:
        """Return system message, examples and caption."""
        turns = [
            turn
            for asked, answer in EXAMPLES
            for turn in (
                Turn(role="user", content=(f"Caption: {asked}",)),
                Turn(role="assistant", content=(answer,)),
            )
        ]
        last = Turn(role="user", content=(f"Caption: {caption}",))
        return Conversation(turns=(*turns, last), system=SYSTEM)

    def read(self, text: str) -> Answer:
        """Read the list of objects, whatever is said around it."""
        start = text.lower().find("objects:")
        start = max(0, start if start >= 0 else text.find("["))
        pairs, _ = parse_lgd_text(text[start:])
        boxes = [
            (phrase, pixels_to_normalized(_corners(numbers, where), LGD_CANVAS))
            for where, phrase, numbers in pairs
        ]
        return _answer(boxes)


class StickerForm:
    """The form that the embedded model was trained in: one line a thing."""

    def ask(self, caption: str) -> Conversation:
        """Return one question."""
        return Conversation.of(PLAN.format(caption.strip().rstrip(".")))

    def read(self, text: str) -> Answer:
        """Read `phrase: [x0, y0, x1, y1]` in each line."""
        mentions = LlavaText(padded=False).read(text, LGD_CANVAS)
        return _answer([(one.phrase, one.box) for one in mentions if one.box is not None])


def _corners(numbers: object, where: str) -> Box:
    x, y, width, height = as_numbers(numbers, 4, where)
    return xywh_to_xyxy((x, y, width, height))


def _answer(boxes: Iterable[tuple[str, Box]]) -> Answer:
    """Cut boxes to the canvas."""
    regions, repairs = [], []
    for phrase, box in boxes:
        cut = clip_xyxy(box) if all(abs(value) < 1e6 for value in box) else None
        if cut is None or box_area(cut) <= 0:
            repairs.append(f"dropped {phrase}: its box is not on the canvas")
            continue
        if cut != box:
            repairs.append(f"cut {phrase} to the canvas")
        try:
            regions.append(Region(phrase=phrase.strip(), box=cut))
        except LavallamaError as error:
            repairs.append(f"dropped {phrase}: {error}")
    try:
        document = GroundedPrompt(regions=tuple(regions))
    except PromptError as error:
        raise AnswerError(f"the answer is no layout: {error}") from None
    if not regions:
        raise AnswerError("the answer has no box on the canvas")
    return Answer(document=document, repairs=tuple(repairs))
