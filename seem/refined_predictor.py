"""The predictor of models with a mask refiner: closer looks, and words by a detector.

Axes: M masks of a question, C answers, Q things found, K classes, H W the image, h w the mask map
(stride 4 of `EncodedImage.size`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grounding.errors import PromptError
from grounding.geometry import Box, box_iou
from grounding.region import Point
from seem.backbones.nanodet import NanoDet
from seem.detector import MOST
from seem.encoded_image import EncodedImage
from seem.known_words import KnownWords
from seem.marks import Marks, around
from seem.predictor import Predictor
from seem.question import Exemplar, Found, Prediction, Question, read_previous
from seem.ranking import ALTERNATIVES, OUTSIDE
from seem.refined_track import RefinedTrack
from seem.suppression import distinct
from seem.track import Track
from seem.zoom_in import (
    Answers,
    answer_marks,
    answer_reference,
    detections,
    on_mask_map,
    read_marks,
)

__all__ = ["RefinedPredictor"]

HALF_CERTAIN = 0.35  # the detector's score at which a word is as often right as wrong
STRIDE = 4  # of the mask map
LEAST_OBJECT = 0.3  # certainty of a thing that takes part in `panoptic` and its like


class RefinedPredictor(Predictor):
    """As `Predictor`, of a model with a mask refiner and a detector for a backbone.

    **Scores** of what is drawn are the refiner's estimates of IoU; of words, how certain the
    detector is.

    **A reference** is asked with alone.

    **Words** are the detector's classes (`seem.known_words`); others are refused with a line that
    names those that are known. "previous" logits are maps of `EncodedImage.size`, as SAM's
    low-resolution masks.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        """Prepare a model for questions; arguments as for `Predictor`.

        Raises:
            PromptError: as `Predictor`; or the model has no refiner, or the vocabulary's things are
                not the detector's.
        """
        super().__init__(*args, **settings)
        if self.model.refiner is None:
            raise PromptError(
                "this model has no mask refiner: ask it with seem.predictor.Predictor"
            )
        names = () if self.vocabulary is None else self.vocabulary.things
        backbone = self.model.backbone
        if names and isinstance(backbone, NanoDet) and len(names) != backbone.config.classes:
            raise PromptError(
                f"the detector knows {backbone.config.classes} classes and the vocabulary has "
                f"{len(names)} things: name one for each class, in the detector's order"
            )
        self.known = KnownWords(names)

    @torch.no_grad()
    def ask(
        self,
        questions: Sequence[Question],
        *,
        image: EncodedImage | None = None,
        multimask: bool = False,
        batch: int = 1,
    ) -> list[Prediction]:
        """Answer several questions about one image, one by one.

        Args:
            questions: Of any kinds.
            image: None: the one that was set.
            multimask: Return up to three masks each, not one.
            batch: At least 1; each question has passes of its own in any case.

        Raises:
            PromptError: a question asks for nothing, or for what this model cannot do.
        """
        if batch < 1:
            raise PromptError(f"batch must be at least 1 question a pass; got {batch}")
        image = self.image if image is None else image
        answers = []
        for question in questions:
            self.check()
            answers.append(self._answer(question, image, ALTERNATIVES if multimask else 1))
        return answers

    def askable(self, classes: Sequence[str]) -> list[int]:
        """The places of the classes that the model can be asked about together.

        Of several names of one class the detector's own is taken, else the first.
        """
        own = [index for index, name in enumerate(classes) if name in self.known.names]
        chosen: dict[int, int] = {}
        for index in (*own, *range(len(classes))):
            label = self.known.find(classes[index])
            if label is not None:
                chosen.setdefault(label, index)
        return sorted(chosen.values())

    def _answer(self, question: Question, image: EncodedImage, count: int) -> Prediction:
        marks, said = question.marks, _said(question, self.known)
        previous = _previous(question.previous, image)
        if question.reference is not None:
            if marks or said is not None or previous is not None:
                raise PromptError(
                    "this model is shown a reference alone: ask with the reference, or with marks "
                    "and words"
                )
            return _finish(
                answer_reference(self.model, image, question.reference.tokens), image, count
            )
        if said is not None:
            return self._answer_words(said, marks, previous, image, count)
        if not marks:
            raise PromptError(
                "nothing is asked: give points, strokes, a box, a mask, a text or a reference"
            )
        if not marks.positive:
            raise PromptError(
                "only negative marks are given: add a point, stroke or box on the object, or a text"
            )
        return _finish(
            answer_marks(self.model, image, marks, previous), image, count, box=marks.box
        )

    def _answer_words(
        self,
        text: str,
        marks: Marks,
        previous: Tensor | None,
        image: EncodedImage,
        count: int,
    ) -> Prediction:
        """The best thing of a class; of several, the one that what is drawn fits.

        Where the detector finds none, the answer is what is drawn, if anything is: of score 0.
        """
        boxes, certainty = self._things(text, image)
        certainty = certainty * torch.tensor([_fit(marks, box) for box in boxes])
        best = int(certainty.argmax()) if len(certainty) else 0
        found = bool(len(certainty)) and bool(certainty[best] > 0)
        if not found and not marks.positive:
            height, width = image.size.original
            empty = torch.zeros(1, height, width, dtype=torch.bool)
            high, wide = (side // STRIDE for side in image.size.padded)
            logits = torch.full((1, high, wide), OUTSIDE)
            return Prediction(masks=empty, scores=torch.zeros(1), logits=logits)
        asked = replace(marks, box=boxes[best]) if found and marks.box is None else marks
        answer = answer_marks(self.model, image, asked, previous)
        prediction = _finish(answer, image, count, box=asked.box)
        score = float(certainty[best]) if found else 0.0
        return prediction._replace(scores=torch.full_like(prediction.scores, score))

    @torch.no_grad()
    def find(
        self,
        texts: Sequence[str],
        *,
        spoken: bool = False,
        threshold: float = 0.5,
        overlap: float = 0.5,
    ) -> list[Found]:
        """Find all instances of each text on the image.

        Args:
            texts: Each is looked for by itself.
            spoken: Whether they are transcripts of speech.
            threshold: The least score of an instance.
            overlap: IoU of two masks, or share of the smaller, from which they are one instance.

        Raises:
            PromptError: a text is empty or unknown, or a single string came.
        """
        if isinstance(texts, str):
            raise PromptError(f"texts must be a list; got one string: write [{texts!r:.60}]")
        found = []
        for text in texts:
            self.check()
            boxes, certainty = self._things(text, self.image)
            sure = int((certainty >= threshold).sum())
            masks, logits = self._boxed(boxes[:sure], self.image)
            kept = distinct(
                logits, certainty[:sure], self.image.size, threshold=threshold, overlap=overlap
            )
            kept = kept[masks[kept].flatten(1).any(1)]
            found.append(Found(text, masks[kept], certainty[kept], logits[kept]))
        return found

    def semantic(self, classes: Sequence[str] | None = None) -> Int[Tensor, "H W"]:
        """Refuse: the detector knows things alone, and a pixel has to be something.

        Raises:
            PromptError: always.
        """
        raise PromptError(
            "this model names things, not what lies between them: ask for panoptic or instances, "
            "or name another model"
        )

    @torch.no_grad()
    def exemplar_of(self, marks: Marks, image: EncodedImage) -> Exemplar:
        """As `exemplar`, of marks in normalised coordinates.

        Raises:
            PromptError: nothing positive is drawn.
        """
        if not marks.positive:
            raise PromptError("an exemplar needs a positive mark on the reference image")
        return Exemplar(tokens=read_marks(self.model, image, marks))

    @property
    def most_found(self) -> int:
        """The most masks that `find` and its like hold at a time: things that are detected."""
        return MOST

    def knows(self, text: str) -> bool:
        """Whether it can be asked for that: whether it is one of the detector's classes."""
        return self.known.find(text) is not None

    def read_class(self, name: str) -> None:
        """Nothing: the detector has its classes."""

    def track(self, memory: int) -> Track:
        """An object to be followed through a video; arguments as for `Predictor.track`."""
        return RefinedTrack(self.model, memory)

    def _things(self, text: str, image: EncodedImage) -> tuple[list[Box], Float[Tensor, " Q"]]:
        """Boxes of all that may be what a text means, and how certain the detector is."""
        label, found = self.known.label(text), detections(self.model, image)
        if found is None:
            return [], torch.zeros(0)
        chosen = found.labels == label
        boxes = [(a, b, c, d) for a, b, c, d in found.boxes[chosen].tolist()]
        return boxes, _certainty(found.scores[chosen]).cpu()

    def _boxed(
        self, boxes: Sequence[Box], image: EncodedImage
    ) -> tuple[Tensor, Float[Tensor, "Q h w"]]:
        """The masks of things in boxes, at the image's own size and as logits of the mask map."""
        height, width = image.size.original
        high, wide = (side // STRIDE for side in image.size.padded)
        masks = [torch.zeros(0, height, width, dtype=torch.bool)]
        logits = [torch.zeros(0, high, wide)]
        for box in boxes:
            self.check()
            answer = answer_marks(self.model, image, Marks(box=box))
            said = _finish(answer, image, 1, box=box)
            masks.append(said.masks.cpu())
            logits.append(said.logits.cpu())
        return torch.cat(masks), torch.cat(logits)

    def _objects(
        self, classes: Sequence[str]
    ) -> tuple[Float[Tensor, "Q K+1"], Float[Tensor, "Q h w"]]:
        """Class logits and mask logits of the things that the detector finds."""
        labels: dict[int, int] = {}
        for index, name in enumerate(classes):
            first = labels.setdefault(self.known.label(name), index)
            if first != index:
                raise PromptError(
                    f"{classes[first]!r} and {name!r} are one class of this model: name one of them"
                )
        found = detections(self.model, self.image)
        if found is None:
            raise PromptError("this model has no detector: name what to look for by marks")
        certainty = _certainty(found.scores).cpu()
        chosen = [
            (index, labels[label])
            for index, label in enumerate(found.labels.tolist())
            if label in labels and certainty[index] >= LEAST_OBJECT
        ]
        boxes = [(a, b, c, d) for a, b, c, d in found.boxes[[i for i, _ in chosen]].tolist()]
        _, masks = self._boxed(boxes, self.image)
        chances = torch.full((len(chosen), len(classes) + 1), 1e-9)
        for row, (index, column) in enumerate(chosen):
            chances[row, column], chances[row, -1] = certainty[index], 1 - certainty[index]
        return chances.clamp(min=1e-9).log(), masks


def _certainty(scores: Float[Tensor, " Q"]) -> Float[Tensor, " Q"]:
    """Scores of the detector, stretched so that `HALF_CERTAIN` becomes a half."""
    power = torch.tensor(0.5).log() / torch.tensor(HALF_CERTAIN).log()
    return scores ** power.to(scores)


def _fit(marks: Marks, box: Box) -> float:
    """How well a box fits what is drawn, in [0, 1]: 0 where something on the object lies outside.

    Clicks and strokes on the object lie in its box; those beside it rather do not, and halve the
    fit; a box and a mask are compared by IoU of boxes.
    """
    fit = 1.0
    for mark in (*marks.points, *marks.strokes):
        places = (mark.xy,) if isinstance(mark, Point) else mark.xy
        inside = sum(box[0] <= x < box[2] and box[1] <= y < box[3] for x, y in places) / len(places)
        fit *= inside if mark.label else 1 - inside / 2
    if marks.box is not None:
        fit *= box_iou(marks.box, box)
    if marks.mask is not None:
        height, width = marks.mask.shape
        x0, y0, x1, y1 = around(marks.mask)
        fit *= box_iou((x0 / width, y0 / height, x1 / width, y1 / height), box)
    return fit


def _said(question: Question, known: KnownWords) -> str | None:
    """What is asked in words, if anything is; written and spoken ones must mean the same.

    Raises:
        PromptError: they do not.
    """
    text, audio = question.text, question.audio
    if text is not None and audio is not None and known.label(text) != known.label(audio):
        raise PromptError(
            f"the text says {text!r:.40} and the speech {audio!r:.40}: this model takes one class "
            "at a time; ask with one of them"
        )
    return audio if text is None else text


def _previous(previous: Tensor | None, image: EncodedImage) -> Float[Tensor, "1 h w"] | None:
    if previous is None:
        return None
    height, width = (side // STRIDE for side in image.size.padded)
    return read_previous(previous, (height, width), image.memory.mask_features)


def _finish(
    answers: Answers, image: EncodedImage, count: int, *, box: Box | None = None
) -> Prediction:
    """Masks at the image's own size, their scores, and their logits on the mask map."""
    height, width = image.size.original
    order = [0, *(1 + answers.quality[1:].argsort(descending=True, stable=True)).tolist()][:count]
    left, top, right, bottom = answers.window
    chosen = answers.logits[order]
    if box is not None:
        chosen = chosen.masked_fill(
            _beyond(box, answers.window, (height, width)).to(chosen.device), OUTSIDE
        )
    chosen = replace(answers, logits=chosen, quality=answers.quality[order])
    masks = chosen.logits.new_zeros((len(order), height, width), dtype=torch.bool)
    masks[:, top:bottom, left:right] = chosen.logits > 0
    return Prediction(masks=masks, scores=chosen.quality, logits=on_mask_map(chosen, image))


def _beyond(box: Box, window: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    """Which pixels of a window lie outside of a box."""
    left, top, right, bottom = window
    height, width = size
    x, y = torch.arange(left, right) + 0.5, torch.arange(top, bottom) + 0.5
    rows = (y < box[1] * height) | (y > box[3] * height)
    columns = (x < box[0] * width) | (x > box[2] * width)
    return rows[:, None] | columns
