"""Layout: what an adapter can use of a prompt document, and what it has to leave."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from gligen.config import BOX_MODALITIES, AdapterConfig
from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt, Maps
from grounding.region import Reference, Region

__all__ = ["DRAWS_FROM", "Box", "Layout", "Notice", "notice", "plan_layout"]

log = logging.getLogger(__name__)

Box = tuple[float, float, float, float]
Notice = Callable[[str], None]

DRAWS_FROM = {
    "text": "phrases and boxes",
    "text_image": "phrases, reference pictures and boxes",
    "keypoint": "keypoints of people",
    "hed": "a map of soft edges (maps.hed)",
    "canny": "a map of edges (maps.canny), or a picture's edges",
    "depth": "a depth map (maps.depth)",
    "normal": "a map of normals (maps.normal)",
    "sem": "a map of classes (maps.semantic)",
}
_MODALITY_OF_MAP = {"semantic": "sem"}  # the other maps are called like their modality
# Read by an adapter, shown on the overlay, or a result that stands beside what was asked.
_REGION_FIELDS = {"id", "phrase", "box", "z", "score"}
_OUTLINES = {"polygon", "mask"}
_DOCUMENT_FIELDS = {
    "schema_",
    "canvas",
    "prompt",
    "negative_prompt",
    "image",
    "sampling",
    "files",
    "provenance",
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What goes where, in the order of the document.

    Attributes:
        phrases: in words; "" where there are none.
        boxes: normalised xyxy, origin top left, one for each phrase.
        references: in pictures, one for each phrase; None where there is none.
        regions: those that are drawn: of boxes, one for each phrase; else people with keypoints.
    """

    phrases: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    references: tuple[Reference | None, ...] = ()
    regions: tuple[Region, ...] = ()


def notice(strict: bool) -> Notice:
    """How to speak of input that cannot be used as it stands: a warning, an error if `strict`."""

    def say(message: str) -> None:
        if strict:
            raise PromptError(f"{message} (an error because of strict)")
        log.warning("%s", message)

    return say


def plan_layout(
    document: GroundedPrompt,
    config: AdapterConfig,
    say: Notice,
    *,
    isolate: bool = False,
    pictures: bool = False,
) -> Layout:
    """Choose the regions to draw.

    Args:
        document: any prompt document.
        config: of the adapter; of more regions than it takes, the largest are kept.
        say: told of everything that has no effect on the picture.
        isolate: whether regions are kept apart, in their outlines if they have any.
        pictures: whether reference pictures may stand in the place of phrases ("text").

    Raises:
        PromptError: the document asks for what this adapter cannot do.
    """
    kind = config.modality
    pictures = kind == "text_image" or (pictures and kind == "text")
    if isolate and kind not in BOX_MODALITIES:
        raise PromptError(
            f"isolate keeps boxes apart, and this adapter draws from {DRAWS_FROM[kind]}: take an "
            "adapter for text or text_image, or leave isolate out"
        )
    _refuse_other_wishes(document, config, pictures)
    used, most = {*_DOCUMENT_FIELDS, "maps"}, 0
    if kind in BOX_MODALITIES:
        usable = [region for region in document.regions if _is_usable(region, pictures, say)]
        most, what = config.max_boxes, "boxes"
        used.add("regions")
    elif kind == "keypoint":
        usable = [region for region in document.regions if _is_person(region, say)]
        most, what = config.max_persons, "people"
        used.add("regions")
    else:
        usable, what = [], ""
    unused = _unused(document, used)
    if usable:
        read = _REGION_FIELDS | (_OUTLINES if isolate else set())
        read |= {"reference"} if pictures else set()
        read |= {"keypoints"} if kind == "keypoint" else set()
        of_regions = (_unused(region, read) for region in usable)
        unused += [f"{name} of regions" for name in dict.fromkeys(chain(*of_regions))]
    if unused:
        say(f"no effect on the picture, which follows {DRAWS_FROM[kind]}: {', '.join(unused)}")
    if len(usable) > most:
        say(f"{len(usable)} {what}, and the adapter takes {most}: only the largest are kept")
        largest = sorted(usable, key=_area, reverse=True)[:most]
        kept = {region.id for region in largest}
        usable = [region for region in usable if region.id in kept]
    if kind == "keypoint":
        return Layout(regions=tuple(usable))
    return Layout(
        regions=tuple(usable),
        phrases=tuple(region.phrase if region.phrase.strip() else "" for region in usable),
        boxes=tuple(box for region in usable if (box := region.bounds()) is not None),
        references=tuple(region.reference for region in usable),
    )


def _refuse_other_wishes(document: GroundedPrompt, config: AdapterConfig, pictures: bool) -> None:
    """Refuse what only an adapter of another modality can do."""
    kind, wishes = config.modality, []
    for name in Maps.model_fields:
        modality = _MODALITY_OF_MAP.get(name, name)
        if getattr(document.maps, name) is not None and modality != kind:
            wishes.append((f"a map (maps.{name})", modality))
    if not pictures and any(region.reference for region in document.regions):
        wishes.append(("reference pictures", "text_image"))
    if kind != "keypoint" and any(_is_only_pose(region) for region in document.regions):
        wishes.append(("keypoints", "keypoint"))
    if wishes:
        asked, modality = wishes[0]
        raise PromptError(
            f"the document asks for {asked}; this adapter draws from {DRAWS_FROM[kind]}: take an "
            f"adapter for {modality}, or leave it out"
        )


def _is_only_pose(region: Region) -> bool:
    """Whether a region says nothing but where joints are."""
    return bool(region.keypoints) and not (region.phrase.strip() and region.bounds())


def _is_usable(region: Region, pictures: bool, say: Notice) -> bool:
    missing = [] if region.bounds() else ["box"]
    if not region.phrase.strip() and not (pictures and region.reference):
        missing.append("phrase and no reference" if pictures else "phrase")
    if missing:
        say(f"region {region.id!r} is left out: it has no {' and no '.join(missing)}")
    return not missing


def _is_person(region: Region, say: Notice) -> bool:
    if not region.keypoints:
        say(f"region {region.id!r} is left out: it has no keypoints")
    return bool(region.keypoints)


def _area(region: Region) -> float:
    x0, y0, x1, y1 = _extent(region)
    return (x1 - x0) * (y1 - y0)


def _extent(region: Region) -> Box:
    """Around a region's box, or, without one, its visible joints."""
    box = region.bounds()
    places = [point.xy for point in region.keypoints if point.visibility]
    if box is not None or not places:
        return box or (0.0, 0.0, 0.0, 0.0)
    xs, ys = zip(*places, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _unused(part: Any, used: set[str]) -> list[str]:
    """Name the fields of a document's part that say something and are not used."""
    fields = type(part).model_fields
    return [
        name.rstrip("_")
        for name, value in part
        if name not in used and value != fields[name].get_default(call_default_factory=True)
    ]
