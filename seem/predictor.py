"""Ask SEEM about images: points, strokes, boxes, masks, words, references; in any combination.

Axes: N points, V vertices, Q queries, K classes, C masks, H W the original image, h w the mask map
(stride 4 of the padded image).

    predictor = Predictor(model, tokenizer)
    predictor.set_image(image)
    masks, scores, logits = predictor.predict(points=[[120, 80]])
    masks, scores, logits = predictor.predict(
        points=[[120, 80], [300, 40]], labels=[1, 0], previous=logits[:1]
    )

Conventions are those of SAM's predictor (https://github.com/facebookresearch/segment-anything).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt
from seem.asked import finish, likelihood, marked_tokens, queries_of, rank_answers, read
from seem.decoder import mask_logits
from seem.documents import predict_document
from seem.encoded_image import (
    EncodedImage,
    Resizing,
    default_resizing,
    encode_image,
    object_masks,
    object_predictions,
)
from seem.marks import BoxMode, Marks, check_box_mode, draw, pixel_marks
from seem.mask_rules import MaskRules
from seem.model import Seem
from seem.postprocess import (
    OBJECT_THRESHOLD,
    Instances,
    Panoptic,
    instances,
    label_map,
    panoptic,
    semantic,
)
from seem.prompt import Prompt
from seem.question import Exemplar, Found, Prediction, Question
from seem.ranking import ALTERNATIVES, Ranked
from seem.suppression import distinct
from seem.track import QueryTrack, Track
from seem.vocabulary import TEMPLATES, Vocabulary
from seem.wholes import wholes_first
from seem.words import Words

__all__ = ["Predictor"]

OFFICIAL = MaskRules()


class Predictor:
    """A model, what it knows of words, and the image that is being asked about.

    **Scores** are the mean of sigmoid(logit) over the pixels of a mask, times, for questions with
    words, the probability of the text against "background" (softmax of the two). They are no
    estimate of IoU.

    **Long work** calls `check` between its steps: set it to what raises where it should end.

    **Boxes.** `box_mode="corners"` (the default): the box constrains the answer. The decoder is
    given the official click at the deepest pixel of the filled box (unless something else positive
    is drawn); of its masks, and those of the image's object queries, the one is taken that fits
    the box best (IoU of bounding boxes), weighed by how well it agrees with other marks, and
    clipped to the box and a margin of a tenth of its sides. `box_mode="outline"`: the decoder is
    also told that the pixels around the box lie beside the object, and without words its answer is
    taken as it answers to what is drawn; for models that were trained so, as the embedded one.
    `box_mode="centre"`: the official meaning, that click and no more.

    **Determinism.** The same image and the same question give the same bits on one machine and
    number of threads, in whatever order and beside whatever others, as long as `batch` is 1: every
    question has a decoder pass of its own, every text is encoded by itself. A batch of questions in
    one pass saves time where passes are small for the device, but other matrix shapes round
    differently (in the seventh digit); a logit that falls on the other side of zero inside the
    decoder may then move a mask slightly. Passes of one question cost that saving and no more.
    """

    def __init__(
        self,
        model: Seem,
        tokenizer: Callable[..., Any] | None = None,
        *,
        vocabulary: Vocabulary | None = None,
        resizing: Resizing | None = None,
        box_mode: BoxMode = "corners",
        object_threshold: float = OBJECT_THRESHOLD,
        rules: MaskRules = OFFICIAL,
    ) -> None:
        """Prepare a model for questions.

        Args:
            model: SEEM; is put into evaluation mode.
            tokenizer: CLIP's (`seem.words`); without it only words are missing.
            vocabulary: What is looked for where no classes are named; None: they must be named.
            resizing: The size at which the model sees images; None: the official one.
            box_mode: What a box means.
            object_threshold: The least probability of a panoptic segment where none is named.
            rules: What is done with masks beyond the official rules.

        Raises:
            PromptError: there is no such box mode.
        """
        check_box_mode(box_mode)
        self.model = model.eval()
        templates = TEMPLATES if vocabulary is None else vocabulary.templates
        self.words = Words(model.text_encoder, tokenizer, templates)
        self.vocabulary = vocabulary
        self.resizing = default_resizing(model) if resizing is None else resizing
        self.box_mode: BoxMode = box_mode
        self.object_threshold, self.rules = object_threshold, rules
        self.check: Callable[[], None] = _go_on
        self._image: EncodedImage | None = None

    @property
    def image(self) -> EncodedImage:
        """The image that is being asked about.

        Raises:
            PromptError: none was set.
        """
        if self._image is None:
            raise PromptError("there is no image to ask about: call set_image first")
        return self._image

    @torch.no_grad()
    def encode(self, image: Any) -> EncodedImage:
        """Encode an image without asking about it yet; `seem.encoded_image` says what is taken.

        Raises:
            PromptError: not an image.
        """
        return encode_image(self.model, image, self.resizing)

    def set_image(self, image: Any) -> None:
        """Take an image, or one that was encoded before, for the questions that follow."""
        self._image = image if isinstance(image, EncodedImage) else self.encode(image)

    def predict(  # noqa: PLR0913  (SAM's own form: each kind of prompt by its name)
        self,
        *,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        strokes: Sequence[Any] | None = None,
        stroke_labels: Any = None,
        mask: Any = None,
        text: str | None = None,
        audio: str | None = None,
        reference: Exemplar | None = None,
        previous: Tensor | None = None,
        multimask: bool = False,
    ) -> Prediction:
        """Answer one question about the image, in pixels of the original image.

        Args:
            points: xy of clicks, [N, 2].
            labels: 1 on the object, 0 beside it, [N]; None: all 1.
            box: xyxy.
            strokes: Polylines, each [V, 2].
            stroke_labels: 1 or 0 for each stroke; None: all 1.
            mask: A bitmap of the object, [H, W].
            text: What it is; with marks, they say which one.
            audio: The same as it was spoken: a transcript (`pipelines.conversation.speech`).
            reference: What it looks like (`exemplar`).
            previous: `logits[i:i+1]` of the last answer, to be refined. Give all marks again.
            multimask: Return up to three masks, not one.

        Raises:
            PromptError: one line: what was expected, what came.
        """
        marks = pixel_marks(
            self.image.size.original,
            points=points,
            labels=labels,
            box=box,
            strokes=strokes,
            stroke_labels=stroke_labels,
            mask=mask,
        )
        question = Question(
            marks=marks, text=text, audio=audio, reference=reference, previous=previous
        )
        return self.ask([question], multimask=multimask)[0]

    @torch.no_grad()
    def ask(
        self,
        questions: Sequence[Question],
        *,
        image: EncodedImage | None = None,
        multimask: bool = False,
        batch: int = 1,
    ) -> list[Prediction]:
        """Answer several questions about one image.

        Args:
            questions: Of any kinds.
            image: None: the one that was set.
            multimask: Return up to three masks each, not one.
            batch: Questions in one pass of the decoder; more than 1 may change last bits.

        Raises:
            PromptError: a question asks for nothing, or for what this model cannot do.
        """
        if batch < 1:
            raise PromptError(f"batch must be at least 1 question a pass; got {batch}")
        image = self.image if image is None else image
        model, words, count = self.model, self.words, ALTERNATIVES if multimask else 1
        asked = [
            read(
                model,
                words,
                image,
                question,
                box_mode=self.box_mode,
                rules=self.rules,
            )
            for question in questions
        ]
        answers: list[Prediction] = []
        for start in range(0, len(asked), batch):
            self.check()
            some = asked[start : start + batch]
            output = model.decode(image.memory, [each.prompt for each in some], objects=False)
            for index, each in enumerate(some):
                ranked = rank_answers(model, words, image, output, index, each)
                answers.append(finish(ranked, image, count))
        return answers

    def predict_document(
        self,
        document: GroundedPrompt,
        *,
        references: Mapping[str, Any] | None = None,
        batch: int = 1,
    ) -> GroundedPrompt:
        """Answer a document about the image: see `seem.documents.predict_document`."""
        return predict_document(self, document, references=references, batch=batch)

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

        Every query that looks at the text is a candidate; of candidates that show the same thing,
        or a part of it, the most probable stays (`seem.suppression`).

        Args:
            texts: Each is looked for by itself.
            spoken: Whether they are transcripts of speech.
            threshold: The least score of an instance.
            overlap: IoU of two masks, or share of the smaller, from which they are one instance.

        Raises:
            PromptError: a text is empty, or a single string came, or there is no tokenizer.
        """
        if isinstance(texts, str):
            raise PromptError(f"texts must be a list; got one string: write [{texts!r:.60}]")
        image, group = self.image, self.model.decoder.grouping.text_queries
        found = []
        for text in texts:
            self.check()
            said = self.words.text(text)
            prompt = Prompt(audio=said) if spoken else Prompt(text=said)
            output = self.model.decode(image.memory, [prompt], objects=False)
            seen = queries_of(output, 0, group)
            chance = likelihood(self.model, self.words, seen, prompt)
            masks = mask_logits(seen.mask_embeddings, image.memory)[0]
            chance = wholes_first(masks, chance) if self.rules.wholes else chance
            best = distinct(masks, chance, image.size, threshold=threshold, overlap=overlap)
            ranked = Ranked(mask_logits=masks[best], probability=chance[best])
            answer = finish(ranked, image, len(best))
            order = answer.scores.sort(descending=True, stable=True).indices
            shown = answer.masks.flatten(1).any(1) & (answer.scores >= threshold)
            order = order[shown[order]]
            parts = (part[order] for part in answer)
            found.append(Found(text, *parts))
        return found

    @torch.no_grad()
    def exemplar(self, image: Any = None, **drawn: Any) -> Exemplar:
        """Something on a reference image, to be looked for on others.

        Args:
            image: The reference image, or an encoded one; None: the image that was set.
            **drawn: What lies on it, as for `predict`: points, labels, box (a click at its centre),
                strokes, stroke_labels, mask; in pixels of that image.

        Raises:
            PromptError: nothing is drawn, or not on that image.
        """
        if image is None:
            image = self.image
        encoded = image if isinstance(image, EncodedImage) else self.encode(image)
        return self.exemplar_of(pixel_marks(encoded.size.original, **drawn), encoded)

    @torch.no_grad()
    def exemplar_of(self, marks: Marks, image: EncodedImage) -> Exemplar:
        """As `exemplar`, of marks in normalised coordinates.

        Raises:
            PromptError: nothing positive is drawn.
        """
        drawing = draw(marks, image.size, box_mode="centre")
        if not drawing.positive.any():
            raise PromptError("an exemplar needs a positive mark on the reference image")
        return Exemplar(tokens=marked_tokens(self.model, image, drawing))

    @property
    def most_found(self) -> int:
        """The most masks that `find` and its like hold at a time."""
        return len(self.model.decoder.query_feat.weight)

    def knows(self, text: str) -> bool:
        """Whether it can be asked for that: it has a tokenizer, and reads as much."""
        if self.words.tokenizer is None:
            return False
        try:
            self.words.text(text)
        except PromptError:
            return False
        return True

    def read_class(self, name: str) -> None:
        """Encode the name of a class ahead: many at a time take long.

        Raises:
            PromptError: it has no words, or there is no tokenizer.
        """
        self.words.classes([name])

    def for_image(self, image: Any) -> "Predictor":
        """The predictor for pictures like this one: itself, if it has but one model."""
        return self

    def track(self, memory: int) -> Track:
        """An object to be followed through a video (`seem.video.VideoPredictor`).

        Args:
            memory: Frames that it is remembered by, beside those with prompts.
        """
        return QueryTrack(self.model, memory)

    @torch.no_grad()
    def panoptic(
        self,
        classes: Sequence[str] | None = None,
        *,
        things: Collection[str] | None = None,
        object_threshold: float | None = None,
    ) -> Panoptic:
        """Share the image out among classes (`seem.postprocess.panoptic`).

        Args:
            classes: Their names; None: the vocabulary.
            things: Those that can be counted; None: all, or as the vocabulary says.
            object_threshold: The least probability of a segment; None: the predictor's.

        Raises:
            PromptError: there are no classes, or things that are none of them.
        """
        names, countable = self._classes(classes, things)
        logits, masks = self._objects(names)
        least = self.object_threshold if object_threshold is None else object_threshold
        return panoptic(
            logits, masks, things=countable, size=self.image.size, object_threshold=least
        )

    @torch.no_grad()
    def instances(
        self, classes: Sequence[str] | None = None, *, things: Collection[str] | None = None
    ) -> Instances:
        """Find the objects of classes (`seem.postprocess.instances`); arguments as `panoptic`."""
        names, countable = self._classes(classes, things)
        logits, masks = self._objects(names)
        return instances(logits, masks, things=countable, size=self.image.size, check=self.check)

    @torch.no_grad()
    def semantic(self, classes: Sequence[str] | None = None) -> Int[Tensor, "H W"]:
        """The index of the class of each pixel (`seem.postprocess.semantic`)."""
        names, _ = self._classes(classes, None)
        logits, masks = self._objects(names)
        return label_map(semantic(logits, masks, size=self.image.size, check=self.check))

    def askable(self, classes: Sequence[str]) -> list[int]:
        """The places of the classes that the model can be asked about together."""
        return [index for index, name in enumerate(classes) if self.knows(name)]

    def class_names(self, classes: Sequence[str] | None = None) -> tuple[str, ...]:
        """The names that labels are indices of: those given, or the vocabulary's.

        Raises:
            PromptError: none are given and there is no vocabulary.
        """
        return self._classes(classes, None)[0]

    def _classes(
        self, classes: Sequence[str] | None, things: Collection[str] | None
    ) -> tuple[tuple[str, ...], set[int]]:
        """Names to look for, and which of them can be counted."""
        if classes is None:
            if self.vocabulary is None:
                raise PromptError(
                    "this model brings no vocabulary: name the classes to look for, as a list"
                )
            classes = self.vocabulary.names
            things = self.vocabulary.things if things is None else things
        if isinstance(classes, str):
            raise PromptError(f"classes must be a list; got one string: write [{classes!r:.60}]")
        return tuple(classes), _things(classes, things)

    def _objects(
        self, classes: Sequence[str]
    ) -> tuple[Float[Tensor, "Q K+1"], Float[Tensor, "Q h w"]]:
        """Class logits and mask logits of the object queries."""
        image = self.image
        vectors = self.words.classes(classes)
        said = object_predictions(self.model, image)
        logits = self.model.class_logits(said.captions, vectors)[0]
        return logits, object_masks(self.model, image)


def _go_on() -> None:
    """Let all work go on."""


def _things(classes: Sequence[str], things: Collection[str] | None) -> set[int]:
    if things is None:
        return set(range(len(classes)))
    if unknown := sorted(set(things) - set(classes)):
        raise PromptError(f"things must be among the classes; unknown: {', '.join(unknown)}")
    return {index for index, name in enumerate(classes) if name in things}
