"""Interactive segmentation of one object: marks add up, each answer refines the last.

Axes: H W the image, h w the mask map (stride 4 of the padded image).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from grounding.errors import PromptError
from seem.marks import Marks, pixel_marks
from seem.postprocess import restore_linear
from seem.predictor import Predictor
from seem.question import Prediction, Question

__all__ = ["Session"]

PLACE_BYTES = 512  # a click, CPython 3.11; a place of a stroke takes a quarter


@dataclass(frozen=True, kw_only=True, eq=False)
class _Step:
    """Everything that was said up to a round, and the answer without its mask of full size."""

    marks: Marks
    text: str | None
    scores: Float[Tensor, "1"]
    logits: Float[Tensor, "1 h w"]
    packed: UInt8[np.ndarray, " N"] | None  # the mask's bits where its logits do not tell them


class Session:
    """Rounds of clicks, strokes and boxes about one object of the predictor's image.

    The decoder is told all marks in every round, and the last round's mask logits where the model
    has a memory ("v0", "v1"). The session keeps the image that was set when it began, so the
    predictor may go on to others. `undo` and `redo` bring answers back bit for bit without asking
    the model; a round costs the memory of its mask logits at stride 4, and with a mask refiner
    that of the mask's bits.
    """

    def __init__(self, predictor: Predictor) -> None:
        """Begin with nothing said.

        Raises:
            PromptError: the predictor has no image.
        """
        self.predictor, self.image = predictor, predictor.image
        self._steps: list[_Step] = []
        self._place = 0  # steps that count; those after it can be redone

    def __len__(self) -> int:
        """The number of rounds that count."""
        return self._place

    @property
    def answer(self) -> Prediction | None:
        """The current answer; None: nothing was said yet, or all of it was undone."""
        if not self._place:
            return None
        step = self._steps[self._place - 1]
        if step.packed is None:
            masks = restore_linear(step.logits, self.image.size) > 0
        else:
            height, width = self.image.size.original
            bits = np.unpackbits(step.packed, count=height * width).view(bool)
            masks = torch.from_numpy(bits).view(1, height, width).to(step.logits.device)
        return Prediction(masks=masks, scores=step.scores, logits=step.logits)

    @property
    def bytes(self) -> int:
        """About how much memory the rounds take, those that can be redone too."""
        return _weigh(self._steps)

    @property
    def kept_bytes(self) -> int:
        """About how much memory the rounds take that count: the others go when more is said."""
        return _weigh(self._steps[: self._place])

    @property
    def marks(self) -> Marks:
        """All marks up to now."""
        return self._steps[self._place - 1].marks if self._place else Marks()

    def click(self, x: float, y: float, label: int = 1) -> Prediction:
        """Click on the object, or beside it (label 0), in pixels of the image.

        Raises:
            PromptError: outside of the image, or the first mark is a negative one.
        """
        return self.add(points=[[x, y]], labels=[label])

    def stroke(self, line: Any, label: int = 1) -> Prediction:
        """Scribble along a polyline [V, 2], on the object or beside it (label 0).

        Raises:
            PromptError: as `click`.
        """
        return self.add(strokes=[line], stroke_labels=[label])

    def add(self, *, text: str | None = None, **drawn: Any) -> Prediction:
        """Say more: any marks of `Predictor.predict`; a new box, mask or text replaces the last.

        Raises:
            PromptError: what is said makes no sense; the session stays as it was.
        """
        new = pixel_marks(self.image.size.original, **drawn)
        if not new and text is None:
            raise PromptError("nothing is said: give points, strokes, a box, a mask or a text")
        old = self.marks
        marks = replace(
            old,
            points=old.points + new.points,
            strokes=old.strokes + new.strokes,
            box=old.box if new.box is None else new.box,
            mask=old.mask if new.mask is None else new.mask,
        )
        if text is None and self._place:
            text = self._steps[self._place - 1].text
        previous = None
        if self._place and marks.positive and self.predictor.model.decoder.grouping.has_memory:
            previous = self._steps[self._place - 1].logits
        question = Question(marks=marks, text=text, previous=previous)
        answer = self.predictor.ask([question], image=self.image)[0]
        packed = None
        if self.image.view is not None:  # a mask refiner's masks are finer than their logits
            packed = np.packbits(answer.masks.numpy(force=True))
        step = _Step(
            marks=marks, text=text, scores=answer.scores, logits=answer.logits, packed=packed
        )
        self._steps[self._place :] = [step]
        self._place += 1
        return answer

    def undo(self) -> Prediction | None:
        """Take the last round back; returns the answer before it, None if that was the first.

        Raises:
            PromptError: nothing was said.
        """
        if not self._place:
            raise PromptError("there is nothing to undo")
        self._place -= 1
        return self.answer

    def redo(self) -> Prediction:
        """Bring the last undone round back.

        Raises:
            PromptError: nothing was undone, or something new was said since.
        """
        if self._place == len(self._steps):
            raise PromptError("there is nothing to redo")
        self._place += 1
        answer = self.answer
        assert answer is not None, "a round that counts has an answer"
        return answer

    def reset(self) -> None:
        """Forget everything but the image."""
        self._steps, self._place = [], 0


def _weigh(steps: Sequence[_Step]) -> int:
    """Bytes of rounds: each has its logits; masks, clicks and strokes are shared with the next."""
    if not steps:
        return 0
    parts = [step.logits.untyped_storage() for step in steps]
    logits = {part.data_ptr(): part.nbytes() for part in parts}
    masks = {id(s.marks.mask): s.marks.mask.nbytes for s in steps if s.marks.mask is not None}
    packed = sum(step.packed.nbytes for step in steps if step.packed is not None)
    marks = steps[-1].marks  # all of those before it, and more
    places = len(marks.points) + sum(len(stroke.xy) for stroke in marks.strokes)
    return sum(logits.values()) + sum(masks.values()) + packed + places * PLACE_BYTES
