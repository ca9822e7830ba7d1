"""What the server answers, as JSON: masks with their scores, boxes and areas in pixels."""

import base64
import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from pydantic import BaseModel, Field
from torch import Tensor

from grounding.masks import bitmap_to_rle
from pipelines.serve.worker import check_stop
from seem.postprocess import Instances, Panoptic
from seem.question import Found, Prediction
from seem.results import mask_boxes

__all__ = [
    "Answer",
    "Answers",
    "FoundText",
    "FoundTexts",
    "ImageInfo",
    "Mask",
    "MaskFormat",
    "Rle",
    "FoundSegment",
    "Segments",
    "SessionAnswer",
    "answer",
    "found_text",
    "instance_segments",
    "panoptic_segments",
    "semantic_segments",
]

MaskFormat = Literal["rle", "png"]


class Rle(BaseModel):
    """COCO's compressed run lengths, which pycocotools decodes as they are."""

    size: tuple[int, int] = Field(description="[height, width] in pixels.")
    counts: str = Field(description="Run lengths, column by column, as COCO's text.")


class Mask(BaseModel):
    """The pixels of one object, at the size of the uploaded picture."""

    score: float | None = Field(
        default=None, description="0 to 1, how sure the model is; absent: the task has no scores."
    )
    area: int = Field(description="Pixels inside.", examples=[8120])
    box: tuple[int, int, int, int] | None = Field(
        default=None,
        description="[x0, y0, x1, y1] in pixels around it, ends exclusive; absent: no pixel.",
    )
    rle: Rle | None = Field(default=None, description="With `?masks=rle`, the default.")
    png: str | None = Field(
        default=None, description="With `?masks=png`: a black and white PNG in base64."
    )


class Sized(BaseModel):
    """Pixels of the picture that the masks are about."""

    width: int = Field(description="Pixels across.", examples=[640])
    height: int = Field(description="Pixels down.", examples=[480])


class Answer(Sized):
    """The answer to one question."""

    masks: list[Mask] = Field(description="The best first: one, or up to three with multimask.")


class Answers(BaseModel):
    """The answers to many questions, in their order."""

    answers: list[Answer]


class FoundText(BaseModel):
    """All instances of one text."""

    text: str
    masks: list[Mask] = Field(description="The most certain first; there may be none.")


class FoundTexts(Sized):
    """All instances of each text, in the order of the texts."""

    found: list[FoundText]


class FoundSegment(Mask):
    """Pixels of one class."""

    name: str = Field(description="Of its class.")
    thing: bool | None = Field(
        default=None, description="One countable object, or all of some stuff; absent: not asked."
    )


class Segments(Sized):
    """What there is on the picture."""

    segments: list[FoundSegment]


class ImageInfo(Sized):
    """An uploaded picture that can be asked about."""

    image_id: str = Field(description="Names it in what follows; a secret of its owner.")
    bytes: int = Field(description="Memory that it takes on the server.")
    expires_s: float = Field(description="Seconds without use after which it is forgotten.")


class SessionAnswer(Sized):
    """An interactive session, and its current answer."""

    session_id: str = Field(description="Names it in what follows; a secret of its owner.")
    image_id: str = Field(description="The picture that it is about.")
    rounds: int = Field(description="Rounds of marks that count now.")
    expires_s: float = Field(description="Seconds without use after which it is forgotten.")
    mask: Mask | None = Field(default=None, description="Absent: nothing is said (any more).")


def answer(said: Prediction, masks: MaskFormat) -> Answer:
    """Write the answer to one question."""
    height, width = said.masks.shape[1:]
    return Answer(width=width, height=height, masks=_masks(said.masks, said.scores.tolist(), masks))


def found_text(said: Found, masks: MaskFormat) -> FoundText:
    """Write all instances of one text."""
    return FoundText(text=said.text, masks=_masks(said.masks, said.scores.tolist(), masks))


def panoptic_segments(said: Panoptic, names: Sequence[str], masks: MaskFormat) -> Segments:
    """Write the segments of a panoptic map."""
    return _segments(
        said.map.shape,
        [
            _mask(
                said.map == part.id, part.score, masks, name=names[part.label], thing=part.is_thing
            )
            for part in said.segments
        ],
    )


def instance_segments(
    said: Instances, names: Sequence[str], threshold: float, masks: MaskFormat
) -> Segments:
    """Write objects, those without a pixel left out."""
    found = zip(said.masks, said.scores.tolist(), said.labels.tolist(), strict=True)
    return _segments(
        said.masks.shape[1:],
        [
            _mask(bitmap, score, masks, name=names[int(label)], thing=True)
            for bitmap, score, label in found
            if score >= threshold and bool(bitmap.any())
        ],
    )


def semantic_segments(labels: Tensor, names: Sequence[str], masks: MaskFormat) -> Segments:
    """Write each class that has a pixel, in the order of the classes."""
    return _segments(
        labels.shape,
        [
            _mask(labels == label, None, masks, name=names[int(label)], thing=None)
            for label in torch.unique(labels).tolist()
        ],
    )


def _segments(size: Sequence[int], segments: list[FoundSegment]) -> Segments:
    return Segments(width=size[1], height=size[0], segments=segments)


def _masks(bitmaps: Bool[Tensor, "N H W"], scores: list[float], form: MaskFormat) -> list[Mask]:
    return [
        Mask(**_fields(bitmap, score, form)) for bitmap, score in zip(bitmaps, scores, strict=True)
    ]


def _mask(
    bitmap: Bool[Tensor, "H W"],
    score: float | None,
    form: MaskFormat,
    *,
    name: str,
    thing: bool | None,
) -> FoundSegment:
    return FoundSegment(name=name, thing=thing, **_fields(bitmap, score, form))


def _fields(bitmap: Bool[Tensor, "H W"], score: float | None, form: MaskFormat) -> dict:
    check_stop()
    area = int(bitmap.sum())
    box = mask_boxes(bitmap[None])[0].int().tolist() if area else None
    pixels = bitmap.cpu().numpy()
    fields = {"score": score, "area": area, "box": box}
    if form == "png":
        return fields | {"png": _png(pixels)}
    rle = bitmap_to_rle(pixels)
    return fields | {"rle": Rle(size=rle.size, counts=str(rle.counts))}


def _png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
