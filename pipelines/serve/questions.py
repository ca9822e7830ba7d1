"""What clients ask, as JSON: SAM's conventions, in pixels of the uploaded picture."""

import base64
import binascii
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from grounding.masks import rle_to_bitmap
from grounding.part import Part, Text, Whole
from grounding.region import MAX_SIDE, RleMask
from pipelines.serve.refusal import Refusal
from pipelines.serve.uploads import decode_bitmap

__all__ = [
    "MAX_CLASSES",
    "MAX_POINTS",
    "MAX_QUESTIONS",
    "MAX_STROKES",
    "AnyRequest",
    "BatchRequest",
    "ClassesRequest",
    "DrawnMask",
    "FindRequest",
    "Marks",
    "MarksRequest",
    "PanopticRequest",
    "Question",
    "ReferencePicture",
    "SessionRequest",
]

MAX_POINTS = 256
MAX_STROKES = 64
MAX_VERTICES = 1024
MAX_TEXT = 512  # characters; the text encoder reads 77 tokens
MAX_TEXTS = 32
MAX_CLASSES = 256
MAX_QUESTIONS = 64
MAX_COUNTS = 1_000_000  # characters of a compressed mask
MAX_RUNS = 200_000
FAR = 1e6  # pixels; no picture is as large

Pixel = Annotated[float, Field(strict=True, ge=-FAR, le=FAR)]
Place = tuple[Pixel, Pixel]
Sign = Literal[0, 1]
Side = Annotated[Whole, Field(ge=1, le=MAX_SIDE)]
Phrase = Annotated[Text, Field(min_length=1, max_length=MAX_TEXT)]
Name = Annotated[Text, Field(max_length=64)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
# The first wrong entry of a list is enough to refuse it.
Places = Annotated[list[Place], Field(min_length=1, max_length=MAX_POINTS, fail_fast=True)]
Line = Annotated[list[Place], Field(min_length=1, max_length=MAX_VERTICES, fail_fast=True)]
Lines = Annotated[list[Line], Field(min_length=1, max_length=MAX_STROKES, fail_fast=True)]
PlaceSigns = Annotated[list[Sign], Field(max_length=MAX_POINTS, fail_fast=True)]
LineSigns = Annotated[list[Sign], Field(max_length=MAX_STROKES, fail_fast=True)]
Run = Annotated[Whole, Field(ge=0)]
Runs = Annotated[list[Run], Field(max_length=MAX_RUNS, fail_fast=True)]
Texts = Annotated[list[Phrase], Field(min_length=1, max_length=MAX_TEXTS, fail_fast=True)]
Classes = Annotated[list[Phrase], Field(min_length=1, max_length=MAX_CLASSES, fail_fast=True)]
Things = Annotated[list[Phrase], Field(max_length=MAX_CLASSES, fail_fast=True)]


class DrawnMask(Part):
    """A bitmap of the object: COCO's run lengths, or a PNG of the picture's size."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["size", "counts"]}, {"required": ["png"]}]}
    )

    size: tuple[Side, Side] = Field(
        default=(1, 1),
        description="[height, width] in pixels, those of the picture; with counts.",
    )
    counts: Annotated[Text, Field(max_length=MAX_COUNTS)] | Runs = Field(
        default="",
        description="COCO's run lengths, column by column: compressed text, or plain numbers.",
    )
    png: Annotated[Text, Field(min_length=1)] = Field(
        default="", description="A PNG in base64; pixels that are not black are inside."
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.model_fields_set not in ({"size", "counts"}, {"png"}):
            raise ValueError("a mask is either size and counts, or png")
        return self

    def bitmap(self, size: tuple[int, int]) -> np.ndarray:
        """The mask as bools, [height, width].

        Args:
            size: (height, width) of the picture.

        Raises:
            Refusal: it has another size, or is no base64 of a PNG.
            PromptError: its runs do not fit its size.
        """
        if self.png:
            try:
                data = base64.b64decode(self.png, validate=True)
            except (binascii.Error, ValueError):
                raise Refusal(422, "mask.png must be base64 of a PNG, without line ends") from None
            return decode_bitmap(data, size)
        if self.size != size:
            raise Refusal(
                422,
                f"a mask must have the picture's size [{size[0]}, {size[1]}] (height, width); got "
                f"{list(self.size)}",
            )
        counts = self.counts if isinstance(self.counts, str) else tuple(self.counts)
        return rle_to_bitmap(RleMask(size=self.size, counts=counts))


class Marks(Part):
    """What is drawn on a picture, in its own pixels, origin at the top left."""

    points: Places | None = Field(
        default=None, description="Clicks [x, y] in pixels; the pixel that holds x, y is clicked."
    )
    labels: PlaceSigns | None = Field(
        default=None, description="1: on the object, 0: beside it; one a point. Absent: all 1."
    )
    box: tuple[Pixel, Pixel, Pixel, Pixel] | None = Field(
        default=None, description="[x0, y0, x1, y1] in pixels around the object; x0 < x1, y0 < y1."
    )
    strokes: Lines | None = Field(default=None, description="Polylines of [x, y] in pixels.")
    stroke_labels: LineSigns | None = Field(
        default=None, description="1: on the object, 0: beside it; one a stroke. Absent: all 1."
    )
    mask: DrawnMask | None = Field(default=None, description="A bitmap of the object.")

    def drawn(self, size: tuple[int, int]) -> dict[str, Any]:
        """The arguments of `seem.marks.pixel_marks`.

        Args:
            size: (height, width) of the picture.

        Raises:
            LavallamaError: the mask is none, or is of another size.
        """
        return {
            "points": self.points,
            "labels": self.labels,
            "box": self.box,
            "strokes": self.strokes,
            "stroke_labels": self.stroke_labels,
            "mask": None if self.mask is None else self.mask.bitmap(size),
        }


class ReferencePicture(Marks):
    """Something on an uploaded picture that the object should look like."""

    image_id: Name = Field(description="Of the picture that shows it; may be the same one.")


class Question(Marks):
    """One object: at least one of marks, text and reference."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"points": [[120, 80], [300, 40]], "labels": [1, 0], "multimask": True},
                {"box": [40, 30, 210, 190]},
                {"text": "lava llama"},
            ]
        }
    )

    text: Phrase | None = Field(default=None, description="What it is; with marks: which one.")
    reference: ReferencePicture | None = Field(default=None, description="What it looks like.")
    multimask: bool = Field(default=False, description="Return up to three masks, best first.")


class BatchQuestion(Question):
    """One object on one of several pictures."""

    image_id: Name = Field(description="Of the picture that is asked about.")


class BatchRequest(Part):
    """Many questions, about one picture or many; answered in their order, all or none."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"questions": [{"image_id": "image_...", "points": [[120, 80]]}]}]
        }
    )

    questions: list[BatchQuestion] = Field(
        min_length=1,
        max_length=MAX_QUESTIONS,
        fail_fast=True,
        description="Each has an answer of its own, the same as if it were asked alone.",
    )


class FindRequest(Part):
    """All instances of each text."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"texts": ["llama", "volcano"]}]})

    texts: Texts = Field(description="Each is looked for by itself.")
    threshold: Share = Field(default=0.5, description="Least score of an instance, 0 to 1.")
    overlap: Share = Field(
        default=0.5,
        description="IoU of two masks, or share of the smaller, from which they are one instance.",
    )


class ClassesRequest(Part):
    """Classes to share the picture out among."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"classes": ["llama", "grass"]}]})

    classes: Classes | None = Field(
        default=None, description="Their names; absent: the model's own vocabulary."
    )


class PanopticRequest(ClassesRequest):
    """Classes, and which of them can be counted."""

    things: Things | None = Field(
        default=None,
        description="Those of the classes that can be counted; absent: all of them, or what the "
        "model's own vocabulary says.",
    )


class SessionRequest(Part):
    """An interactive session about one object."""

    image_id: Name = Field(description="Of the picture that it is about.")


class MarksRequest(Marks):
    """More marks: points and strokes are added, a new box, mask or text replaces the last."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"points": [[300, 40]], "labels": [0]}]}
    )

    text: Phrase | None = Field(default=None, description="What it is.")


class AnyRequest(Part):
    """Whatever a client may send as JSON, prompt documents aside."""

    question: Question
    batch: BatchRequest
    find: FindRequest
    panoptic: PanopticRequest
    session: SessionRequest
