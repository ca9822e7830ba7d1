"""A question as the decoder takes it, and its answer out of what the decoder said.

Axes: Q queries, D channels, C masks, h w the mask map (stride 4), H W the original image.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from grounding.errors import PromptError
from grounding.geometry import Box
from seem.attention_groups import Group
from seem.choice import caption_likeness
from seem.correction import kept_to_marks
from seem.decoder import DecoderOutput, Predictions
from seem.encoded_image import EncodedImage, object_masks, object_predictions
from seem.marks import BoxMode, Drawing, draw
from seem.mask_rules import MaskRules
from seem.model import Seem
from seem.parts import touched_parts
from seem.postprocess import restore_linear
from seem.prompt import Prompt
from seem.prompt_encoder import SpatialTokens
from seem.question import Prediction, Question, read_previous
from seem.ranking import Ranked, clip_to_box, rank
from seem.words import Words

__all__ = ["Asked", "finish", "likelihood", "marked_tokens", "queries_of", "rank_answers", "read"]

AREA_EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """One question, read.

    Attributes:
        question: As it was asked.
        prompt: As the decoder takes it.
        drawing: Its marks on the padded image; None: nothing is drawn.
        box: Normalised xyxy to which the answer is clipped.
        by_box: Whether answers are judged by how well they fit the box.
        connected: Whether parts of a mask on which nothing was drawn are left out.
        wholes: Whether a text's parts give way to its wholes.
        corrected: Whether masks are made to agree with clicks and strokes.
    """

    question: Question
    prompt: Prompt
    drawing: Drawing | None
    box: Box | None
    by_box: bool
    connected: bool
    corrected: bool
    wholes: bool


def read(
    model: Seem,
    words: Words,
    image: EncodedImage,
    question: Question,
    *,
    box_mode: BoxMode,
    rules: MaskRules,
) -> Asked:
    """Turn a question into a prompt.

    Raises:
        PromptError: it asks for nothing, or for what this model cannot do.
    """
    marks, reference = question.marks, question.reference
    in_words = question.text is not None or question.audio is not None
    if not marks and not in_words and reference is None:
        raise PromptError(
            "nothing is asked: give points, strokes, a box, a mask, a text or a reference"
        )
    drawing = draw(marks, image.size, box_mode=box_mode) if marks else None
    if marks and not marks.positive and not in_words:
        raise PromptError(
            "only negative marks are given: add a point, stroke or box on the object, or a text"
        )
    if reference is not None and marks.positive and model.decoder.grouping.visual is Group.STROKE:
        raise PromptError(
            "this SEEM reads a reference in the place of strokes: ask with marks or with the "
            "reference, not with both (a 'demo' model takes both)"
        )
    spatial = None
    if drawing is not None and marks.positive:
        spatial = marked_tokens(model, image, drawing)
    previous = question.previous
    if previous is not None:
        if spatial is None and reference is None:
            raise PromptError("a previous mask refines what is drawn: give its marks again")
        features = image.memory.mask_features
        height, width = features.shape[-2:]
        previous = read_previous(previous, (height, width), features)
    prompt = Prompt(
        spatial=spatial,
        visual=None if reference is None else reference.tokens,
        text=None if question.text is None else words.text(question.text),
        audio=None if question.audio is None else words.text(question.audio),
        previous=previous,
    )
    box = None if box_mode == "centre" else marks.box
    by_box = box is not None and (box_mode == "corners" or in_words)
    return Asked(
        question=question,
        prompt=prompt,
        drawing=drawing,
        box=box,
        by_box=by_box,
        connected=rules.connected and drawing is not None and bool(drawing.evidence.any()),
        corrected=rules.corrected and bool(marks.points or marks.strokes) and marks.mask is None,
        wholes=rules.wholes,
    )


def marked_tokens(model: Seem, image: EncodedImage, drawing: Drawing) -> SpatialTokens:
    """What the decoder reads at the pixels of a drawing."""
    device = image.memory.mask_features.device
    positive, negative = drawing.positive[None].to(device), drawing.negative[None].to(device)
    return model.encode_marks(image.memory, positive, negative)


def rank_answers(
    model: Seem,
    words: Words,
    image: EncodedImage,
    output: DecoderOutput,
    index: int,
    asked: Asked,
) -> Ranked:
    """The best answers to the question at a place of the decoded batch."""
    grouping, prompt = model.decoder.grouping, asked.prompt
    groups: list[Group] = []
    if prompt.said is not None:
        groups.append(grouping.text_queries)
    if prompt.spatial is not None or prompt.visual is not None:
        groups.append(grouping.spatial_queries)
    parts = [queries_of(output, index, group) for group in dict.fromkeys(groups)]
    beside = asked.by_box and Group.OBJECT not in groups
    if beside:
        parts.append(object_predictions(model, image))
    candidates = Predictions(
        captions=torch.cat([part.captions for part in parts], dim=1),
        mask_embeddings=torch.cat([part.mask_embeddings for part in parts], dim=1),
    )
    drawn = prompt.spatial if prompt.spatial is not None else prompt.visual
    ranked = rank(
        candidates,
        image,
        mean=None if drawn is None else drawn.positive_mean,
        probability=None if prompt.said is None else likelihood(model, words, candidates, prompt),
        drawing=asked.drawing,
        box=asked.box if asked.by_box else None,
        wholes=asked.wholes,
        known=object_masks(model, image) if beside else None,
    )
    masks = ranked.mask_logits
    if asked.corrected and (drawing := asked.drawing) is not None:
        features = image.memory.mask_features[0]
        masks = kept_to_marks(masks, features, drawing.evidence, drawing.counter_evidence)
    if asked.box is not None:
        masks = clip_to_box(masks, asked.box, image.size)
    if asked.connected and asked.drawing is not None:
        masks = touched_parts(masks, asked.drawing.evidence)
    return replace(ranked, mask_logits=masks)


def queries_of(output: DecoderOutput, index: int, group: Group) -> Predictions:
    """What the queries of one group said of one prompt, [1, Q, D]."""
    span = output.spans[group]
    present = output.groups[index, span] >= 0
    return Predictions(
        captions=output.predictions.captions[index, span][present][None],
        mask_embeddings=output.predictions.mask_embeddings[index, span][present][None],
    )


def likelihood(
    model: Seem, words: Words, candidates: Predictions, prompt: Prompt
) -> Float[Tensor, " Q"]:
    """The probability that each candidate is what the words say, and not "background"."""
    assert prompt.said is not None, "a likelihood is that of words"
    pair = torch.cat([prompt.said.classes, words.background])
    scale = model.text_encoder.logit_scale
    return caption_likeness(candidates.captions[0], pair, scale).softmax(-1)[:, 0]


def finish(ranked: Ranked, image: EncodedImage, count: int) -> Prediction:
    """Masks at the image's own size, and their scores, one by one: full size takes memory."""
    masks, scores = [], []
    for logits, probability in zip(
        ranked.mask_logits[:count], ranked.probability[:count], strict=True
    ):
        restored = restore_linear(logits[None], image.size)[0]
        inside = restored > 0
        certainty = (restored.sigmoid() * inside).sum() / (inside.sum() + AREA_EPSILON)
        masks.append(inside)
        scores.append(certainty * probability)
    logits = ranked.mask_logits[:count]
    if not masks:
        empty = torch.zeros(0, *image.size.original, dtype=torch.bool, device=logits.device)
        return Prediction(masks=empty, scores=logits.new_zeros(0), logits=logits)
    return Prediction(
        masks=torch.stack(masks), scores=torch.stack(scores), logits=logits.contiguous()
    )
