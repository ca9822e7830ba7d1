"""Documents in, documents out: each region is a question, each answer the same region again.

Axes: H W the image in pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from seem.encoded_image import EncodedImage
from seem.marks import Marks, region_marks
from seem.postprocess import Instances, Panoptic
from seem.question import Exemplar, Prediction, Question
from seem.results import answered, instances_document, panoptic_document, semantic_document

__all__ = ["Answerer", "predict_document"]


class Answerer(Protocol):
    """What documents need of a predictor; `seem.predictor.Predictor` is one."""

    @property
    def image(self) -> EncodedImage:
        """The image that was set."""
        ...

    def encode(self, image: Any) -> EncodedImage:
        """Encode another image."""
        ...

    def ask(self, questions: Sequence[Question], *, batch: int = 1) -> list[Prediction]:
        """Answer questions about the image."""
        ...

    def exemplar_of(self, marks: Marks, image: EncodedImage) -> Exemplar:
        """Read what marks show on an image."""
        ...

    def class_names(self, classes: Sequence[str] | None = None) -> tuple[str, ...]:
        """The classes given, or the model's own."""
        ...

    def panoptic(self, classes: Sequence[str]) -> Panoptic:
        """Share the image out among classes."""
        ...

    def instances(self, classes: Sequence[str]) -> Instances:
        """Find objects of classes."""
        ...

    def semantic(self, classes: Sequence[str]) -> Int[Tensor, "H W"]:
        """Name the class of each pixel."""
        ...


def predict_document(
    predictor: Answerer,
    document: GroundedPrompt,
    *,
    references: Mapping[str, Any] | None = None,
    batch: int = 1,
) -> GroundedPrompt:
    """Answer a document about the image that was set.

    `segment.mode` says what is asked. "prompt" (also without `segment`): each region gets its
    mask, box and score. Points and strokes ask; without them the mask, the polygon or the box; if
    nothing lies on the object, the reference, and at last the phrase. "referring": the phrase asks
    in any case, and what is drawn says which one. "panoptic", "instance" and "semantic": regions
    are found for `segment.classes` (none: the vocabulary of the model), and replace those of the
    document.

    Args:
        predictor: With an image.
        document: The request. Its canvas may differ from the image: coordinates are normalised.
        references: Images by the names that regions' references give them.
        batch: Regions in one pass of the decoder; more than 1 may change last bits.

    Raises:
        PromptError: a region asks for nothing or for what this model cannot do; no classes.
    """
    mode = "prompt" if document.segment is None else document.segment.mode
    if mode not in ("prompt", "referring"):
        return _segments(predictor, document, mode)
    image, known = predictor.image, _References(predictor, document, references or {})
    questions = []
    for region in document.regions:
        try:
            questions.append(_question(region, image, known, referring=mode == "referring"))
        except PromptError as error:
            raise PromptError(f"region {region.id!r}: {error}") from None
    if not questions:
        height, width = image.size.original
        return answered(document, torch.zeros(0, height, width, dtype=torch.bool))
    found = predictor.ask(questions, batch=batch)
    masks = torch.cat([answer.masks for answer in found])
    return answered(document, masks, torch.cat([answer.scores for answer in found]))


def _segments(predictor: Answerer, document: GroundedPrompt, mode: str) -> GroundedPrompt:
    assert document.segment is not None, "a mode stands in a segment"
    names = predictor.class_names(document.segment.classes or None)
    if mode == "panoptic":
        return panoptic_document(predictor.panoptic(names), names, request=document)
    if mode == "instance":
        return instances_document(predictor.instances(names), names, request=document)
    return semantic_document(predictor.semantic(names), names, request=document)


def _question(
    region: Region, image: EncodedImage, references: "_References", *, referring: bool
) -> Question:
    marks = region_marks(region, image.size.original)
    phrase = region.phrase or None
    if referring:
        if phrase is None:
            raise PromptError("segment.mode 'referring' asks by phrase: give it one")
        return Question(marks=marks, text=phrase)
    if marks.positive:
        return Question(marks=marks)
    if region.reference is not None:
        return Question(reference=references.read(region))
    if phrase is None:
        raise PromptError(
            "it does not say what it is: give it a point, stroke, box or mask on the object, a "
            "reference or a phrase"
        )
    return Question(marks=marks, text=phrase)


class _References:
    """Exemplars of a document, each image encoded once."""

    def __init__(
        self, predictor: Answerer, document: GroundedPrompt, images: Mapping[str, Any]
    ) -> None:
        self.predictor, self.document, self.images = predictor, document, images
        self.encoded: dict[str, EncodedImage] = {}

    def read(self, region: Region) -> Exemplar:
        reference = region.reference
        assert reference is not None, "only regions with a reference are read"
        if reference.image is None:
            assert reference.region is not None, "a reference points somewhere"
            image = self.predictor.image
            marks = region_marks(self.document.region(reference.region), image.size.original)
            return self.predictor.exemplar_of(marks, image)
        if reference.region is not None:
            raise PromptError(
                "a reference to a region of another image's document cannot be followed here: "
                "cut the region out and refer to that image"
            )
        name = reference.image
        if name not in self.images:
            raise PromptError(
                f"its reference image {name!r:.80} was not given: add it to references"
            )
        if name not in self.encoded:
            self.encoded[name] = self.predictor.encode(self.images[name])
        everything = Marks(mask=np.ones((1, 1), bool))
        return self.predictor.exemplar_of(everything, self.encoded[name])
