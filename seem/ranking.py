"""Which masks answer a question, the best first: the rules of `Predictor`, for one question.

Axes: Q candidates, C answers, D channels, h w the mask map (stride 4), H W the padded image.

- Drawn, or a reference: the product of mask embedding and mean mask feature, as officially.
- A text: the probability of the text against "background".
- A text and marks: that probability x how well the mask agrees with the marks; queries of the text
  and queries of the marks compete. So "the dog" and a click is the dog that was clicked.
- A box with corners: how well the mask fits it (`box_overlap`) x agreement with other marks (x the
  text's probability). The image's object queries compete too (not in "demo", which has no queries
  beside those that were asked).
- A box whose outline the decoder was told: as what is drawn; with a text, as a box with corners.

The answer to a box is clipped to it and a margin around it (`clip_to_box`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grounding.geometry import Box
from seem.choice import mask_likeness
from seem.decoder import Predictions, mask_logits
from seem.encoded_image import EncodedImage
from seem.image_memory import ImageMemory
from seem.marks import Drawing
from seem.preprocess import ImageSize
from seem.results import mask_boxes
from seem.wholes import wholes_first

__all__ = ["ALTERNATIVES", "Ranked", "agreement", "box_overlap", "clip_to_box", "rank"]

ALTERNATIVES = 3  # masks of an ambiguous prompt, as SAM's (arXiv 2304.02643, section 3)
BOX_MARGIN = 0.1  # of each side, beyond which a mask of a box is cut off
OUTSIDE = -10.0  # a logit that no interpolation with its neighbours makes part of a mask
LAST_RESORT = 1e-6  # what contradicts the marks is better than nothing, if nothing else is left
STRIDE = 4  # of the mask map


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """The best candidates of a question.

    Attributes:
        mask_logits: At stride 4, [C, h, w].
        probability: Of the text; 1 without one, [C].
    """

    mask_logits: Float[Tensor, "C h w"]
    probability: Float[Tensor, " C"]


def rank(
    candidates: Predictions,
    image: EncodedImage,
    *,
    mean: Float[Tensor, "1 D"] | None,
    probability: Float[Tensor, " Q"] | None,
    drawing: Drawing | None,
    box: Box | None,
    wholes: bool = False,
    known: Float[Tensor, "k h w"] | None = None,
) -> Ranked:
    """Take the best `ALTERNATIVES` candidates.

    Args:
        candidates: Captions and mask embeddings, [1, Q, D].
        image: What was asked about.
        mean: Mean mask feature of what was drawn or referred to.
        probability: Of the text for each candidate.
        drawing: What was drawn.
        box: Normalised xyxy that the answer shall fit.
        wholes: For a text alone, whether parts give way to wholes.
        known: Mask logits of the last k candidates, if the image has them already.
    """
    embeddings = candidates.mask_embeddings
    judged = box is not None or (probability is not None and (wholes or drawing is not None))
    masks = _all_masks(embeddings, image.memory, known) if judged else None
    if masks is not None:
        value = masks.new_ones(len(masks)) if probability is None else probability
        inside = masks > 0
        if drawing is not None:
            agreed = agreement(inside, drawing.evidence, drawing.counter_evidence)
            value = value * (agreed + LAST_RESORT)
        elif probability is not None and box is None:
            value = wholes_first(masks, value)
        if box is not None:
            value = value * (box_overlap(inside, box, image.size) + LAST_RESORT)
    elif probability is not None:
        value = probability
    else:
        assert mean is not None, "a question without text or box has a mean"
        nobody = torch.full(embeddings.shape[1:2], -1, device=embeddings.device)
        value = mask_likeness(embeddings[0], nobody, mean)[:, 0]
    best = value.sort(descending=True, stable=True).indices[:ALTERNATIVES]
    # Always the same number of products: a mask must not depend on how many are asked for.
    chosen = mask_logits(embeddings[:, best], image.memory)[0] if masks is None else masks[best]
    return Ranked(
        mask_logits=chosen,
        probability=chosen.new_ones(len(best)) if probability is None else probability[best],
    )


def _all_masks(
    embeddings: Float[Tensor, "1 Q D"], memory: ImageMemory, known: Float[Tensor, "k h w"] | None
) -> Float[Tensor, "Q h w"]:
    """The masks of all candidates; those that are known are not computed again."""
    if known is None:
        return mask_logits(embeddings, memory)[0]
    new = embeddings[:, : embeddings.shape[1] - len(known)]
    return torch.cat([mask_logits(new, memory)[0], known])


def agreement(
    inside: Bool[Tensor, "Q h w"], positive: Bool[Tensor, "H W"], negative: Bool[Tensor, "H W"]
) -> Float[Tensor, " Q"]:
    """The part of the positive pixels that a mask holds x the part of the negative it leaves out.

    Without pixels of a sign its part is 1.
    """
    parts = []
    for bitmap in (positive, negative):
        y, x = (bitmap.nonzero() // STRIDE).unbind(1)
        held = inside[:, y, x]
        parts.append(held if bitmap is positive else ~held)
    positive_part, negative_part = (
        part.float().mean(1) if part.shape[1] else part.new_ones(len(part), dtype=torch.float32)
        for part in parts
    )
    return positive_part * negative_part


def box_overlap(inside: Bool[Tensor, "Q h w"], box: Box, size: ImageSize) -> Float[Tensor, " Q"]:
    """IoU of the box with the boxes around masks, x the part of the mask that lies in the box.

    What lies beyond the box and its margin is cut off first, as `clip_to_box` does, so that a stray
    pixel costs what it weighs. 0 for an empty mask.
    """
    seen = inside[:, : -(-size.image[0] // STRIDE), : -(-size.image[1] // STRIDE)]
    rows, columns = (_span(near) for near in _near(box, size, seen))
    kept = seen[:, rows, columns]
    part = _areas(kept) / _areas(seen).clamp(min=1)
    start = kept.new_tensor([columns.start, rows.start] * 2, dtype=torch.float32)
    found = STRIDE * (mask_boxes(kept) + start)
    asked = _model_box(box, size)
    target = found.new_tensor(asked)
    low, high = torch.maximum(found[:, :2], target[:2]), torch.minimum(found[:, 2:], target[2:])
    common = (high - low).clamp(min=0).prod(1)
    areas = (found[:, 2:] - found[:, :2]).prod(1) + (target[2:] - target[:2]).prod()
    return common / (areas - common) * part


def _areas(masks: Bool[Tensor, "Q h w"]) -> Int[Tensor, " Q"]:
    """Pixels of each mask; as bytes they are counted many times as fast as bools."""
    return masks.view(torch.uint8).sum((1, 2), dtype=torch.int32)


def clip_to_box(masks: Float[Tensor, "C h w"], box: Box, size: ImageSize) -> Float[Tensor, "C h w"]:
    """Mask logits with all that is farther than a margin outside of the box pushed below zero."""
    rows, columns = _near(box, size, masks)
    return torch.where(rows[:, None] & columns, masks, masks.clamp(max=OUTSIDE))


def _near(box: Box, size: ImageSize, maps: Tensor) -> tuple[Bool[Tensor, " h"], Bool[Tensor, " w"]]:
    """The rows and the columns of maps [..., h, w] that cross a box or its margin."""
    x0, y0, x1, y1 = _model_box(box, size)
    near = []
    for side, low, high in zip(maps.shape[-2:], (y0, x0), (y1, x1), strict=True):
        margin = BOX_MARGIN * (high - low)
        middles = STRIDE * (torch.arange(side, device=maps.device) + 0.5)
        inside = (middles >= low - margin - STRIDE / 2) & (middles < high + margin + STRIDE / 2)
        near.append(inside)
    return near[0], near[1]


def _span(chosen: Bool[Tensor, " n"]) -> slice:
    """From the first that is chosen to the last."""
    places = chosen.nonzero()[:, 0]
    return slice(int(places[0]), int(places[-1]) + 1)


def _model_box(box: Box, size: ImageSize) -> tuple[float, float, float, float]:
    """The box in pixels of the image as the model sees it."""
    height, width = size.image
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height
