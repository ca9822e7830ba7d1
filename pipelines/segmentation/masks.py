"""Masks for regions that have a box or a phrase: grounded answers become grounded to the pixel."""

import logging
from collections.abc import Collection

from grounding.masks import bitmap_to_box, bitmap_to_rle
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from seem.marks import region_marks
from seem.predictor import Predictor
from seem.question import Question

__all__ = ["with_masks"]

ARTICLES = ("a", "an", "the", "The", "A", "An")

log = logging.getLogger(__name__)


def with_masks(
    document: GroundedPrompt, predictor: Predictor, ids: Collection[str]
) -> GroundedPrompt:
    """Segment regions: the box asks, and the phrase says which of what lies in the box.

    Args:
        document: With the regions.
        predictor: With the picture set.
        ids: Of the regions; those that have a mask, or neither box nor phrase, stay as they are.

    Returns:
        The document with a mask, the box around it and a score for each; a region of which nothing
        is found keeps its box, and a warning says so, as of words that the model cannot read.
    """
    regions = [
        _segmented(region, predictor) if region.id in ids and region.mask is None else region
        for region in document.regions
    ]
    return document.replace(regions=tuple(regions))


def _segmented(region: Region, predictor: Predictor) -> Region:
    question = _question(region, predictor)
    if question is None:
        return region
    [answer] = predictor.ask([question])
    bitmap = answer.masks[0].cpu().numpy()
    if not bitmap.any():
        log.warning("region %s: no mask was found", region.id)
        return region
    return region.replace(
        mask=bitmap_to_rle(bitmap),
        box=bitmap_to_box(bitmap),
        score=min(1.0, max(0.0, float(answer.scores[0]))),
    )


def _question(region: Region, predictor: Predictor) -> Question | None:
    """What to ask; None: there is nothing to ask by."""
    marks = region_marks(region, predictor.image.size.original)
    words = [word for word in region.phrase.split() if word not in ARTICLES]
    text = " ".join(words)
    if text and not predictor.knows(text):
        log.warning("region %s: the model cannot be asked for %r", region.id, text)
        text = ""
    return Question(marks=marks, text=text or None) if marks or text else None
