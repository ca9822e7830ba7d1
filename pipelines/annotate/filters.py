"""Which of the regions that were found are kept; of the others, why not.

Axes: H W the picture.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from grounding.errors import PromptError
from grounding.geometry import Box, box_area, normalized_to_pixels
from grounding.masks import bitmap_to_box
from grounding.planning.scene_graph import Thing
from pipelines.annotate.finder import Candidate
from pipelines.annotate.settings import Names, Settings

if TYPE_CHECKING:
    from seem.predictor import Predictor

__all__ = ["Kept", "mask_iou", "sift"]

Lost = tuple[str, str]  # a reason, and what it says of this one


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """A region that is kept.

    Attributes:
        found: What it is.
        box: Around its mask, normalised xyxy.
        agreement: IoU of its mask with that of its own box.
    """

    found: Candidate
    box: Box
    agreement: float


def sift(
    candidates: Sequence[Candidate],
    predictor: Predictor,
    settings: Settings,
    names: Names,
    things: Sequence[Thing] = (),
) -> tuple[list[Kept], list[Lost]]:
    """Keep the regions that are certain, large, distinct and found twice.

    Twice: a mask is kept if the segmenter, shown nothing but the box around it, finds nearly the
    same mask. What captions speak of stands before what they do not, the certain before the
    uncertain; of a thing that is found by both, the phrase is the caption's, and so is the name,
    if the vocabulary has it.

    Args:
        candidates: Of one picture.
        predictor: With the picture set.
        settings: The limits.
        names: The vocabulary.
        things: What captions speak of: no more of a kind is kept than they say.

    Returns:
        What is kept, and a reason and a detail for everything else.
    """
    lost: list[Lost] = []
    distinct: list[tuple[Candidate, Box]] = []
    order = sorted(candidates, key=lambda one: (not one.said, -one.score, one.phrase))
    for one in order:
        box = bitmap_to_box(one.mask)
        reason = _flaw(one, box, settings)
        if reason is not None or box is None:
            lost.append((reason or "nothing there", f"{one.phrase} {one.score:.2f}"))
            continue
        same = _same(one, distinct, settings.overlap)
        if same is None:
            distinct.append((one, box))
            continue
        rival = distinct[same][0]
        lost.append(("the same as another region", f"{one.phrase} is {rival.phrase}"))
        if one.name in names.things and rival.name not in names.things:
            distinct[same] = (replace(rival, name=one.name), distinct[same][1])
    kept: list[Kept] = []
    number: Counter[str] = Counter()
    most = {thing.phrase: thing.count for thing in things if thing.exact}
    for one, box in distinct:
        if len(kept) == settings.max_regions:
            lost.append((f"beyond the {settings.max_regions} most certain", one.phrase))
            continue
        agreement = _agreement(one, box, predictor)
        if agreement < settings.agreement:
            lost.append(("its box shows another mask", f"{one.phrase} IoU {agreement:.2f}"))
        elif number[one.phrase] == most.get(one.phrase, math.inf):
            lost.append(("more than captions say", one.phrase))
        else:
            number[one.phrase] += 1
            kept.append(Kept(found=one, box=box, agreement=round(agreement, 4)))
    return kept, lost


def mask_iou(a: Bool[np.ndarray, "H W"], b: Bool[np.ndarray, "H W"]) -> float:
    """Intersection over union of two masks; 0 of two empty ones."""
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 0.0


def _flaw(one: Candidate, box: Box | None, settings: Settings) -> str | None:
    """Why a region is not kept, told by itself."""
    if box is None:
        return "nothing there"
    if one.score < settings.min_score:
        return f"a score under {settings.min_score:g}"
    if box_area(box) < settings.min_area:
        return f"a box under {settings.min_area:.2%} of the picture"
    return None


def _same(one: Candidate, others: Sequence[tuple[Candidate, Box]], overlap: float) -> int | None:
    """Which of the others covers the same pixels."""
    for place, (other, _) in enumerate(others):
        if mask_iou(one.mask, other.mask) >= overlap:
            return place
    return None


def _agreement(one: Candidate, box: Box, predictor: Predictor) -> float:
    from seem.marks import pixel_marks
    from seem.question import Question

    height, width = size = one.mask.shape
    marks = pixel_marks(size, box=normalized_to_pixels(box, (width, height)))
    try:
        [answer] = predictor.ask([Question(marks=marks)])
    except PromptError:  # a box that is too small for the model
        return 0.0
    return mask_iou(one.mask, answer.masks[0].cpu().numpy().astype(bool))
