"""From the decoder's logits to segments: panoptic, instance and semantic, at the image's own size.

Axes: Q queries, K classes (a further, last column of class logits is "background"), h w the
decoder's grid (a quarter of the padded image), H W the result, N what was found. All for one
image: batches are loops, so a result never depends on its neighbours.

The rules are those of MaskFormer (arXiv 2107.06278, section 3.4) and Mask2Former (arXiv
2112.01527), as SEEM (arXiv 2304.06718) uses them.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grounding.errors import GeometryError
from seem.preprocess import ImageSize

__all__ = [
    "Instances",
    "Panoptic",
    "Segment",
    "instances",
    "label_map",
    "panoptic",
    "restore_linear",
    "restore_smooth",
    "semantic",
]

OBJECT_THRESHOLD = 0.8  # SEEM's evaluation; its demo takes 0.4
OVERLAP_THRESHOLD = 0.8  # how much of a mask must be left uncovered, SEEM's configurations
DETECTIONS = 100  # instances an image, as COCO's evaluation counts them
AREA_EPSILON = 1e-6
CHUNK = 16  # masks at full size at a time: bounds the memory of `semantic`


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
    size: ImageSize | None = None,
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
        size: of the image, to resize the masks to; None leaves them as they are.
        object_threshold: 0.8 in SEEM's evaluation, 0.4 in its demo.
        overlap_threshold: 0.8 in both.
    """
    _check(class_logits, masks)
    scores, labels = _exact(class_logits).softmax(-1).max(-1)
    kept = (labels != class_logits.shape[-1] - 1) & (scores > object_threshold)
    scores, labels = scores[kept], labels[kept]
    probabilities = _resized(masks[kept], size).sigmoid()
    shares = torch.zeros(probabilities.shape[1:], dtype=torch.int32, device=masks.device)
    if not len(scores):
        return Panoptic(map=shares, segments=())
    winner = (scores[:, None, None] * probabilities).argmax(0)
    held = probabilities >= 0.5
    mine = held.gather(0, winner[None])[0]
    won = torch.bincount(winner.flatten(), minlength=len(scores)).tolist()
    areas = torch.bincount(winner[mine], minlength=len(scores)).tolist()
    whole = held.flatten(1).sum(1).tolist()

    numbers, segments = _number(
        [
            Segment(id=0, label=label, is_thing=label in things, score=score, area=area)
            if area and share / full >= overlap_threshold
            else None
            for score, label, area, share, full in zip(
                scores.tolist(), labels.tolist(), areas, won, whole, strict=True
            )
        ]
    )
    numbered = torch.tensor(numbers, dtype=torch.int32, device=masks.device)
    return Panoptic(map=numbered[winner] * mine, segments=segments)


def _number(found: list[Segment | None]) -> tuple[list[int], tuple[Segment, ...]]:
    """Give each query's segment its id, stuff of one class the same; 0 where there is none."""
    numbers: list[int] = []
    segments: list[Segment] = []
    stuff: dict[int, int] = {}
    for new in found:
        if new is None:
            numbers.append(0)
        elif new.label in stuff:
            numbers.append(stuff[new.label])
            old = segments[numbers[-1] - 1]
            segments[old.id - 1] = replace(
                old, score=max(old.score, new.score), area=old.area + new.area
            )
        else:
            numbers.append(len(segments) + 1)
            segments.append(replace(new, id=numbers[-1]))
            if not new.is_thing:
                stuff[new.label] = numbers[-1]
    return numbers, tuple(segments)


def instances(
    class_logits: Float[Tensor, "Q K+1"],
    masks: Float[Tensor, "Q h w"],
    *,
    things: Collection[int],
    size: ImageSize | None = None,
    detections: int = DETECTIONS,
    check: Callable[[], None] = lambda: None,
) -> Instances:
    """Find objects: the most probable pairs of a query and a class, those of things.

    The score is the class's probability times the mean of the mask's probabilities inside it. One
    query may appear with several classes, as COCO's average precision rewards.

    Args:
        class_logits: with background as the last column.
        masks: mask logits; inside is above 0.
        things: indices of the classes that can be counted.
        size: of the image, to resize the masks to; None leaves them as they are.
        detections: pairs to consider; those of stuff are left out afterwards.
        check: called between the steps; may raise.
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
    found = [_bitmaps(some, size, check) for some in masks[queries].split(CHUNK)]
    bitmaps, certainties = (torch.cat(parts) for parts in zip(*found, strict=True))
    scores = chances * certainties[place]
    scores, best = scores.sort(descending=True, stable=True)
    order, place = order[best], place[best]
    return Instances(
        masks=bitmaps[place],
        scores=scores,
        labels=order % classes,
        queries=order // classes,
    )


def _bitmaps(
    masks: Tensor, size: ImageSize | None, check: Callable[[], None]
) -> tuple[Tensor, Tensor]:
    """The pixels inside each mask, and the mean of its probabilities there."""
    check()
    resized = _resized(masks, size)
    inside = resized > 0
    sums = (resized.sigmoid() * inside).sum((1, 2))
    return inside, sums / (inside.sum((1, 2)) + AREA_EPSILON)


def semantic(
    class_logits: Float[Tensor, "Q K+1"],
    masks: Float[Tensor, "Q h w"],
    *,
    size: ImageSize | None = None,
    check: Callable[[], None] = lambda: None,
) -> Float[Tensor, "K H W"]:
    """How much each class claims each pixel: the sum over queries of class x mask probability.

    Args:
        class_logits: with background as the last column.
        masks: mask logits.
        size: of the image, to resize the masks to; None leaves them as they are.
        check: called between the steps; may raise.
    """
    _check(class_logits, masks)
    chances = _exact(class_logits).softmax(-1)[:, :-1]
    height, width = size.original if size else masks.shape[1:]
    claims = chances.new_zeros(chances.shape[1], height * width)
    for some, part in zip(chances.split(CHUNK), masks.split(CHUNK), strict=True):
        check()
        claims.addmm_(some.T, _resized(part, size).sigmoid().flatten(1))
    return claims.unflatten(1, (height, width))


def label_map(claims: Float[Tensor, "K H W"]) -> Int[Tensor, "H W"]:
    """The class of each pixel: the index of its largest claim."""
    return claims.argmax(0)


def restore_smooth(masks: Float[Tensor, "N h w"], size: ImageSize) -> Float[Tensor, "N H W"]:
    """Bring the mask logits of segments to the image's own size, without its padding.

    Bilinear to the padded size, cropped, then bicubic with antialiasing.

    Raises:
        GeometryError: not the masks of one image.
    """
    return _restored(masks, size, mode="bicubic", antialias=True)


def restore_linear(masks: Float[Tensor, "N h w"], size: ImageSize) -> Float[Tensor, "N H W"]:
    """Bring the mask logits of prompts to the image's own size; above 0 is inside.

    Bilinear to the padded size, cropped, bilinear again.

    Raises:
        GeometryError: not the masks of one image.
    """
    return _restored(masks, size, mode="bilinear", antialias=False)


def _restored(masks: Tensor, size: ImageSize, *, mode: str, antialias: bool) -> Tensor:
    if masks.ndim != 3:
        raise GeometryError(
            f"masks of one image are [N, h, w]; got {list(masks.shape)}: take image after image"
        )
    if not len(masks):
        return _exact(masks).new_zeros(0, *size.original)
    maps = F.interpolate(_exact(masks)[:, None], size.padded, mode="bilinear", align_corners=False)
    maps = size.crop(maps)
    if size.original != size.image:
        maps = F.interpolate(
            maps, size.original, mode=mode, align_corners=False, antialias=antialias
        )
    return maps[:, 0]


def _resized(masks: Tensor, size: ImageSize | None) -> Tensor:
    return restore_smooth(masks, size) if size else _exact(masks)


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
            f"[Q, h, w]; got {list(class_logits.shape)} and {list(masks.shape)}"
        )
