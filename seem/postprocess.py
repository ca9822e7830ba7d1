"""From the decoder's logits to segments: panoptic, instance and semantic, at the image's own size.

Axes: Q queries, K classes (a further, last column of class logits is "background"), h w the
decoder's grid (a quarter of the padded image), H W the result, N what was found. Sizes are
(height, width). All for one image: batches are loops, so a result never depends on its neighbours.

The rules are those of MaskFormer (arXiv 2107.06278, section 3.4) and Mask2Former (arXiv
2112.01527), as SEEM (arXiv 2304.06718) uses them.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grounding.errors import GeometryError

__all__ = [
    "Frame",
    "Instances",
    "Panoptic",
    "Segment",
    "instances",
    "label_map",
    "panoptic",
    "semantic",
]

OBJECT_THRESHOLD = 0.8  # SEEM's evaluation; its demo takes 0.4
OVERLAP_THRESHOLD = 0.8  # how much of a mask must be left uncovered, SEEM's configurations
DETECTIONS = 100  # instances an image, as COCO's evaluation counts them
AREA_EPSILON = 1e-6
CHUNK = 16  # masks at full size at a time: bounds the memory of `semantic`


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The way back from the decoder's grid to the image.

    Args:
        padded: (height, width) that the backbone saw.
        content: the image's part of it, at its top left.
        output: what the masks shall have, such as the size before the image was resized.
    """

    padded: tuple[int, int]
    content: tuple[int, int]
    output: tuple[int, int]

    def __post_init__(self) -> None:
        fits = all(
            0 < inner <= outer for inner, outer in zip(self.content, self.padded, strict=True)
        )
        if not fits or min(self.output) < 1:
            raise GeometryError(
                "the image must fit into the padded size, and the output have a pixel, all as "
                f"(height, width); got {self.content} in {self.padded}, output {self.output}"
            )

    def smooth(self, masks: Float[Tensor, "N h w"]) -> Float[Tensor, "N H W"]:
        """Resize mask logits for segments: the last step bicubic, with antialiasing."""
        return self._restore(masks, mode="bicubic", antialias=True)

    def linear(self, masks: Float[Tensor, "N h w"]) -> Float[Tensor, "N H W"]:
        """Resize mask logits for the masks of prompts: bilinear throughout; above 0 is inside."""
        return self._restore(masks, mode="bilinear", antialias=False)

    def _restore(self, masks: Tensor, *, mode: str, antialias: bool) -> Tensor:
        if masks.ndim != 3:
            raise GeometryError(
                f"masks of one image are [N, h, w]; got {tuple(masks.shape)}, take one image"
            )
        if not len(masks):
            return masks.new_zeros(0, *self.output)
        masks = _exact(masks)[:, None]
        masks = F.interpolate(masks, self.padded, mode="bilinear", align_corners=False)
        masks = masks[..., : self.content[0], : self.content[1]]
        if self.output != self.content:
            masks = F.interpolate(
                masks, self.output, mode=mode, align_corners=False, antialias=antialias
            )
        return masks[:, 0]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One entry of a panoptic map.

    Args:
        id: its number in the map, from 1.
        label: index of the class.
        is_thing: whether it is one countable object, or all of some stuff.
        score: probability of the class; of merged stuff, that of the best part.
        area: pixels.
    """

    id: int
    label: int
    is_thing: bool
    score: float
    area: int


@dataclass(frozen=True, kw_only=True)
class Panoptic:
    """Each pixel belongs to one segment, or to none.

    Args:
        map: ids of the segments, int32; 0 is none.
        segments: in the order of their ids, 1, 2, ...
    """

    map: Int[Tensor, "H W"]
    segments: tuple[Segment, ...]


@dataclass(frozen=True, kw_only=True)
class Instances:
    """Objects one by one, the most certain first; they may overlap.

    Args:
        masks: bitmaps.
        scores: in [0, 1], not rising.
        labels: indices of the classes.
        queries: which query found it.
    """

    masks: Bool[Tensor, "N H W"]
    scores: Float[Tensor, " N"]
    labels: Int[Tensor, " N"]
    queries: Int[Tensor, " N"]


def panoptic(
    class_logits: Float[Tensor, "Q K+1"],
    masks: Float[Tensor, "Q h w"],
    *,
    things: Collection[int],
    frame: Frame | None = None,
    object_threshold: float = OBJECT_THRESHOLD,
    overlap_threshold: float = OVERLAP_THRESHOLD,
) -> Panoptic:
    """Share the pixels out among the queries.

    A query takes part if its best class is not background and its probability exceeds the
    threshold. A pixel goes to the query of the largest probability x mask, if its mask holds the
    pixel at all (>= 0.5). A query that is left with less than `overlap_threshold` of its mask is
    dropped. Segments of stuff of one class are one; things are never merged.

    Args:
        class_logits: with background as the last column.
        masks: mask logits.
        things: indices of the classes that can be counted.
        frame: how to resize the masks; None leaves them as they are.
        object_threshold: 0.8 in SEEM's evaluation, 0.4 in its demo.
        overlap_threshold: 0.8 in both.
    """
    _check(class_logits, masks)
    scores, labels = _exact(class_logits).softmax(-1).max(-1)
    kept = (labels != class_logits.shape[-1] - 1) & (scores > object_threshold)
    scores, labels = scores[kept], labels[kept]
    probabilities = _resized(masks[kept], frame).sigmoid()
    shares = torch.zeros(probabilities.shape[1:], dtype=torch.int32, device=masks.device)
    if not len(scores):
        return Panoptic(map=shares, segments=())
    winner = (scores[:, None, None] * probabilities).argmax(0)
    held = probabilities >= 0.5
    mine = held.gather(0, winner[None])[0]
    won = torch.bincount(winner.flatten(), minlength=len(scores)).tolist()
    areas = torch.bincount(winner[mine], minlength=len(scores)).tolist()
    whole = held.flatten(1).sum(1).tolist()

    numbers = [0] * len(scores)  # of each query's segment
    segments: list[Segment] = []
    stuff: dict[int, int] = {}
    for query, (score, label) in enumerate(zip(scores.tolist(), labels.tolist(), strict=True)):
        if not areas[query] or won[query] / whole[query] < overlap_threshold:
            continue
        if label in stuff:
            numbers[query] = stuff[label]
            first = segments[stuff[label] - 1]
            score, area = max(score, first.score), first.area + areas[query]
            segments[first.id - 1] = Segment(
                id=first.id, label=label, is_thing=False, score=score, area=area
            )
            continue
        numbers[query] = len(segments) + 1
        if label not in things:
            stuff[label] = numbers[query]
        segments.append(
            Segment(
                id=numbers[query],
                label=label,
                is_thing=label in things,
                score=score,
                area=areas[query],
            )
        )
    numbered = torch.tensor(numbers, dtype=torch.int32, device=masks.device)
    return Panoptic(map=numbered[winner] * mine, segments=tuple(segments))


def instances(
    class_logits: Float[Tensor, "Q K+1"],
    masks: Float[Tensor, "Q h w"],
    *,
    things: Collection[int],
    frame: Frame | None = None,
    detections: int = DETECTIONS,
) -> Instances:
    """Find objects: the most probable pairs of a query and a class, those of things.

    The score is the class's probability times the mean of the mask's probabilities inside it. One
    query may appear with several classes, as COCO's average precision rewards.

    Args:
        class_logits: with background as the last column.
        masks: mask logits; inside is above 0.
        things: indices of the classes that can be counted.
        frame: how to resize the masks; None leaves them as they are.
        detections: pairs to consider; those of stuff are left out afterwards.
    """
    _check(class_logits, masks)
    chances = _exact(class_logits).softmax(-1)[:, :-1]
    classes = chances.shape[1]
    chances, order = chances.flatten().sort(descending=True, stable=True)
    chances, order = chances[:detections], order[:detections]
    countable = torch.tensor([k in things for k in range(classes)], device=masks.device)
    is_thing = countable[order % classes]
    chances, order = chances[is_thing], order[is_thing]
    queries, place = (order // classes).unique(return_inverse=True)
    resized = _resized(masks[queries], frame)
    bitmaps = resized > 0
    sums, areas = (resized.sigmoid() * bitmaps).sum((1, 2)), bitmaps.sum((1, 2))
    scores = chances * (sums / (areas + AREA_EPSILON))[place]
    scores, best = scores.sort(descending=True, stable=True)
    order, place = order[best], place[best]
    return Instances(
        masks=bitmaps[place],
        scores=scores,
        labels=order % classes,
        queries=order // classes,
    )


def semantic(
    class_logits: Float[Tensor, "Q K+1"],
    masks: Float[Tensor, "Q h w"],
    *,
    frame: Frame | None = None,
) -> Float[Tensor, "K H W"]:
    """How much each class claims each pixel: the sum over queries of class x mask probability.

    Args:
        class_logits: with background as the last column.
        masks: mask logits.
        frame: how to resize the masks; None leaves them as they are.
    """
    _check(class_logits, masks)
    chances = _exact(class_logits).softmax(-1)[:, :-1]
    size = frame.output if frame else tuple(masks.shape[1:])
    claims = chances.new_zeros(chances.shape[1], size[0] * size[1])
    for some, part in zip(chances.split(CHUNK), masks.split(CHUNK), strict=True):
        claims.addmm_(some.T, _resized(part, frame).sigmoid().flatten(1))
    return claims.unflatten(1, size)


def label_map(claims: Float[Tensor, "K H W"]) -> Int[Tensor, "H W"]:
    """The class of each pixel: the index of its largest claim."""
    return claims.argmax(0)


def _resized(masks: Tensor, frame: Frame | None) -> Tensor:
    return frame.smooth(masks) if frame else _exact(masks)


def _exact(numbers: Tensor) -> Tensor:
    """Half precision becomes float32: scores near a threshold must not depend on it twice."""
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def _check(class_logits: Tensor, masks: Tensor) -> None:
    if (
        class_logits.ndim != 2
        or class_logits.shape[1] < 2
        or masks.ndim != 3
        or len(masks) != len(class_logits)
    ):
        raise GeometryError(
            "segments of one image need class logits [Q, K+1], background last, and as many masks "
            f"[Q, h, w]; got {tuple(class_logits.shape)} and {tuple(masks.shape)}"
        )
