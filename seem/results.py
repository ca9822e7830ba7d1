"""What was found, as documents and as the dictionaries that transformers' models return.

Axes: N masks, H W the image. Documents hold normalised boxes and masks as COCO's run lengths.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grounding.errors import GeometryError, LavallamaError
from grounding.masks import bitmap_to_box, bitmap_to_rle
from grounding.prompt import Canvas, GroundedPrompt, Region
from seem.postprocess import Instances, Panoptic

__all__ = [
    "answered",
    "instances_document",
    "instances_info",
    "mask_boxes",
    "panoptic_document",
    "panoptic_info",
    "semantic_document",
]

NO_REQUEST = GroundedPrompt()
SCORE_DIGITS = 6  # as transformers rounds


def answered(
    request: GroundedPrompt,
    masks: Bool[Tensor, "N H W"],
    scores: Float[Tensor, " N"] | None = None,
) -> GroundedPrompt:
    """Give each region of a request its mask, the box around it, and a score.

    Ids, phrases, clicks and all else stay, so that the answer can be asked about again. A region
    whose mask is empty has no box.

    Args:
        request: what was asked.
        masks: one a region, in their order, at the size of the image.
        scores: in [0, 1]; None if there are none.

    Raises:
        LavallamaError: not one mask, or not one score, a region.
        GeometryError: the masks are not bitmaps of one image.
    """
    bitmaps = _bitmaps(masks)
    count = len(request.regions)
    if len(bitmaps) != count or (scores is not None and len(scores) != count):
        found = len(bitmaps) if scores is None else f"{len(bitmaps)} and {len(scores)}"
        raise LavallamaError(
            f"{count} regions were asked for and need one mask and one score each; got {found}"
        )
    regions = []
    for index, (region, bitmap) in enumerate(zip(request.regions, bitmaps, strict=True)):
        score = None if scores is None else _fraction(float(scores[index]))
        area = {"mask": bitmap_to_rle(bitmap), "box": bitmap_to_box(bitmap)}
        regions.append(region.replace(**area, score=score))
    return request.replace(regions=tuple(regions), canvas=_canvas(bitmaps))


def instances_document(
    found: Instances,
    names: Sequence[str],
    *,
    threshold: float = 0.0,
    request: GroundedPrompt = NO_REQUEST,
) -> GroundedPrompt:
    """Write objects as regions, the most certain first; those without a pixel are left out.

    Args:
        found: from `seem.postprocess.instances`.
        names: of the classes, by index.
        threshold: the least score to report.
        request: what was asked; its regions, and relations between them, are replaced.

    Raises:
        LavallamaError: a class has no name.
    """
    bitmaps = _bitmaps(found.masks)
    regions = [
        _region(bitmap, _name(names, label), _fraction(score), thing=True)
        for bitmap, label, score in zip(
            bitmaps, found.labels.tolist(), found.scores.tolist(), strict=True
        )
        if score >= threshold and bitmap.any()
    ]
    return _found(request, regions, bitmaps)


def panoptic_document(
    found: Panoptic, names: Sequence[str], *, request: GroundedPrompt = NO_REQUEST
) -> GroundedPrompt:
    """Write segments as regions, in the order of their ids.

    Args:
        found: from `seem.postprocess.panoptic`.
        names: of the classes, by index.
        request: what was asked; its regions, and relations between them, are replaced.

    Raises:
        LavallamaError: a class has no name.
    """
    ids = found.map.cpu().numpy()
    regions = [
        _region(
            ids == segment.id,
            _name(names, segment.label),
            _fraction(segment.score),
            thing=segment.is_thing,
        )
        for segment in found.segments
    ]
    return _found(request, regions, ids[None])


def semantic_document(
    labels: Int[Tensor, "H W"], names: Sequence[str], *, request: GroundedPrompt = NO_REQUEST
) -> GroundedPrompt:
    """Write each class that has a pixel as one region, in the order of the classes.

    Args:
        labels: from `seem.postprocess.label_map`.
        names: of the classes, by index.
        request: what was asked; its regions, and relations between them, are replaced.

    Raises:
        LavallamaError: a class has no name.
    """
    classes = labels.cpu().numpy()
    regions = [
        Region(
            phrase=_name(names, label),
            mask=bitmap_to_rle(classes == label),
            box=bitmap_to_box(classes == label),
        )
        for label in np.unique(classes).tolist()
    ]
    return _found(request, regions, classes[None])


def panoptic_info(found: Panoptic) -> dict[str, Any]:
    """Return what transformers' `post_process_panoptic_segmentation` returns for an image.

    `{"segmentation": int32 [H, W], "segments_info": [{"id", "label_id", "was_fused", "score"}]}`,
    0 where nothing is. Stuff has one entry, where transformers repeats it for each part.
    Source: https://huggingface.co/docs/transformers/model_doc/mask2former
    """
    return {
        "segmentation": found.map,
        "segments_info": [
            {
                "id": segment.id,
                "label_id": segment.label,
                "was_fused": not segment.is_thing,
                "score": round(segment.score, SCORE_DIGITS),
            }
            for segment in found.segments
        ],
    }


def instances_info(found: Instances, *, threshold: float = 0.5) -> dict[str, Any]:
    """Return what `post_process_instance_segmentation(..., return_binary_maps=True)` returns.

    `{"segmentation": bool [N, H, W], "segments_info": [...]}`: entry i describes map i, and its id
    is i. Binary maps, since objects may overlap. Those without a pixel are left out.
    Source: https://huggingface.co/docs/transformers/model_doc/mask2former

    Args:
        found: from `seem.postprocess.instances`.
        threshold: the least score to report.
    """
    kept = (found.scores >= threshold) & found.masks.flatten(1).any(1)
    pairs = zip(found.labels[kept].tolist(), found.scores[kept].tolist(), strict=True)
    return {
        "segmentation": found.masks[kept],
        "segments_info": [
            {
                "id": index,
                "label_id": label,
                "was_fused": False,
                "score": round(score, SCORE_DIGITS),
            }
            for index, (label, score) in enumerate(pairs)
        ],
    }


def mask_boxes(masks: Bool[Tensor, "N H W"]) -> Float[Tensor, "N 4"]:
    """The xyxy boxes around bitmaps, in pixels, ends exclusive; zeros for an empty one."""
    if not len(masks):
        return torch.zeros(0, 4, device=masks.device)
    numbers = masks.view(torch.uint8)  # their maximum is found many times as fast as `any`
    columns, rows = numbers.amax(1), numbers.amax(2)
    sides = []
    for across in (columns, rows):
        sides.append((across.argmax(1), across.shape[1] - across.flip(1).argmax(1)))
    (left, right), (top, bottom) = sides
    boxes = torch.stack((left, top, right, bottom), dim=1).float()
    return boxes * rows.amax(1)[:, None]


def _region(bitmap: np.ndarray, name: str, score: float, *, thing: bool) -> Region:
    return Region(
        phrase=name,
        mask=bitmap_to_rle(bitmap),
        box=bitmap_to_box(bitmap),
        score=score,
        attributes={"thing": thing},
    )


def _found(request: GroundedPrompt, regions: list[Region], maps: np.ndarray) -> GroundedPrompt:
    return request.replace(regions=tuple(regions), relations=(), canvas=_canvas(maps))


def _canvas(maps: np.ndarray) -> Canvas:
    return Canvas(width=maps.shape[2], height=maps.shape[1])


def _bitmaps(masks: Tensor) -> np.ndarray:
    if masks.ndim != 3 or masks.dtype != torch.bool:
        raise GeometryError(
            f"masks of one image are bools [N, H, W]; got {masks.dtype} {list(masks.shape)}: "
            "compare logits with 0, take image after image"
        )
    return masks.cpu().numpy()


def _fraction(score: float) -> float:
    """Rounding may leave a probability a hair outside of [0, 1]."""
    return min(1.0, max(0.0, score))


def _name(names: Sequence[str], label: int) -> str:
    if not 0 <= label < len(names):
        raise LavallamaError(
            f"every class needs a name: class {label} was found, {len(names)} names were given"
        )
    return names[label]
