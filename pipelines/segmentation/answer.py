"""Answers to what was asked about a picture, as documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from grounding.errors import PromptError
from grounding.masks import bitmap_to_box, bitmap_to_rle
from grounding.prompt import Canvas, GroundedPrompt, Segment
from grounding.region import Region
from pipelines.segmentation.inquiry import Inquiry
from pipelines.segmentation.results import Segmentation
from seem.predictor import Predictor
from seem.question import Found, Question
from seem.results import instances_document, panoptic_document, semantic_document

__all__ = ["Mode", "answer", "answer_everything", "find_words", "questions"]

Mode = Literal["panoptic", "instances", "semantic"]
LEAST_SCORE = 0.5  # of a text's instances, and of objects


def answer(
    predictor: Predictor,
    image: Image.Image,
    inquiry: Inquiry,
    *,
    multimask: bool = False,
    threshold: float | None = None,
) -> Segmentation:
    """Answer what is asked about the predictor's image.

    Args:
        predictor: With the image set.
        image: The same.
        inquiry: What is asked.
        multimask: Up to three masks for each object, the best first.
        threshold: The least score of what a text finds; None: 0.5.

    Raises:
        PromptError: It cannot be asked of this model.
    """
    if inquiry.document is not None:
        found = predictor.predict_document(inquiry.document, references=inquiry.references)
        return Segmentation(image=image, document=found, asked=inquiry.document.regions)
    asked = tuple(subject.region() for subject in inquiry.subjects)
    regions: list[Region] = []
    for region, question in zip(asked, questions(predictor, inquiry), strict=True):
        masks, scores, _ = predictor.ask([question], multimask=multimask)[0]
        for mask, score in zip(masks, scores.tolist(), strict=True):
            regions.append(_answered(region, mask, score))
    least = LEAST_SCORE if threshold is None else threshold
    for found in find_words(predictor, inquiry, least):
        for mask, score in zip(found.masks, found.scores.tolist(), strict=True):
            regions.append(_answered(Region(phrase=found.text), mask, score))
    document = GroundedPrompt(
        canvas=Canvas(width=image.width, height=image.height),
        regions=tuple(regions),
        segment=Segment(mode="prompt"),
    )
    return Segmentation(image=image, document=document, asked=asked)


def answer_everything(
    predictor: Predictor,
    image: Image.Image,
    mode: Mode,
    *,
    classes: Sequence[str] | None = None,
    threshold: float | None = None,
) -> Segmentation:
    """Find everything on the predictor's image.

    Args:
        predictor: With the image set.
        image: The same.
        mode: What everything is.
        classes: Names of classes; None: the model's own vocabulary. Those that the vocabulary
            counts as stuff are stuff, all others are things.
        threshold: The least score of a segment or an object; None: the predictor's and 0.5.

    Raises:
        PromptError: No classes, and the model has no vocabulary.
    """
    vocabulary = predictor.vocabulary
    if classes is None:
        if vocabulary is None:
            raise PromptError("this model has no vocabulary of its own: say --classes A,B,C")
        classes = vocabulary.names
    stuff = () if vocabulary is None else vocabulary.stuff
    things = [name for name in classes if name not in stuff]
    request = GroundedPrompt(
        segment=Segment(mode="instance" if mode == "instances" else mode, classes=tuple(classes))
    )
    panoptic = None
    if mode == "panoptic":
        found = predictor.panoptic(classes, things=things, object_threshold=threshold)
        document = panoptic_document(found, classes, request=request)
        panoptic = (found, classes)
    elif mode == "instances":
        least = LEAST_SCORE if threshold is None else threshold
        objects = predictor.instances(classes, things=things)
        document = instances_document(objects, classes, threshold=least, request=request)
    else:
        document = semantic_document(predictor.semantic(classes), classes, request=request)
    return Segmentation(image=image, document=document, panoptic=panoptic)


def questions(predictor: Predictor, inquiry: Inquiry) -> list[Question]:
    """The subjects as the predictor takes them; reference pictures are encoded, each once."""
    read = {}
    asked = []
    for subject in inquiry.subjects:
        exemplar = None
        if subject.reference is not None:
            picture, marks = subject.reference
            encoded = read.setdefault(subject.name, None) or predictor.encode(picture)
            read[subject.name] = encoded
            exemplar = predictor.exemplar_of(marks, encoded)
        asked.append(
            Question(
                marks=subject.marks, text=subject.text, audio=subject.audio, reference=exemplar
            )
        )
    return asked


def find_words(predictor: Predictor, inquiry: Inquiry, least: float) -> list[Found]:
    """All instances of what is said, in written or in spoken words.

    Args:
        predictor: With the image set.
        inquiry: What is said.
        least: The least score of an instance.
    """
    found = predictor.find(inquiry.texts, threshold=least) if inquiry.texts else []
    if inquiry.spoken is not None:
        found += predictor.find([inquiry.spoken], spoken=True, threshold=least)
    return found


def _answered(region: Region, mask: Tensor, score: float) -> Region:
    bitmap = mask.to(torch.bool).cpu().numpy()
    return region.replace(
        mask=bitmap_to_rle(bitmap),
        box=bitmap_to_box(bitmap),
        score=min(1.0, max(0.0, score)),  # rounding may leave a probability a hair outside
    )
