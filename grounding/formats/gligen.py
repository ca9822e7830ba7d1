"""GLIGEN's inference meta: prompt, phrases, locations (normalised xyxy), images, maps, alpha_type.

Both the keys of the official `gligen_inference.py` and diffusers' `gligen_*` arguments are read.
"""

import logging
from collections.abc import Mapping, Sequence

from grounding.errors import PromptError
from grounding.formats.fields import as_list, as_number, as_numbers, as_text
from grounding.formats.units import Units, box_from
from grounding.formats.written import Written, unsaid, written
from grounding.geometry import Size
from grounding.joints import JOINTS
from grounding.jsonfile import describe
from grounding.prompt import Canvas, GroundedPrompt, Region

__all__ = ["read_gligen", "write_gligen"]

_log = logging.getLogger(__name__)
_DIFFUSERS = {
    "gligen_phrases": "phrases",
    "gligen_boxes": "locations",
    "gligen_images": "images",
    "gligen_inpaint_image": "input_image",
}
_MAPS = {
    "canny": ("canny_image", "canny"),
    "depth": ("depth",),
    "hed": ("hed_image", "hed"),
    "normal": ("normal",),
    "semantic": ("sem",),
}
NULL_BOXES = ([0, 0, 0, 0], [0, 1, 0, 1])  # GLIGEN's padding; the style token of its examples
_BETA = "gligen_scheduled_sampling_beta"


def read_gligen(
    data: Mapping[str, object], *, canvas: Size | None = None, units: Units = "auto"
) -> GroundedPrompt:
    """Read a meta dictionary.

    Args:
        data: parsed JSON.
        canvas: `(width, height)`, becomes the document's canvas.
        units: "pixel" if the locations are pixels of `canvas`; otherwise fractions, as GLIGEN has.

    Raises:
        PromptError: one line that names the entry.
    """
    meta = {_DIFFUSERS.get(key, key): value for key, value in data.items()}
    names = {_DIFFUSERS.get(key, key): key for key in data}
    locations = as_list(meta.get("locations", []), names.get("locations", "locations"))
    regions = _regions(meta, names, locations, canvas, units)
    document: dict[str, object] = {"regions": regions}
    for key, name in (
        ("prompt", "prompt"),
        ("negative_prompt", "negative_prompt"),
        ("input_image", "image"),
    ):
        if meta.get(key) is not None:
            document[name] = as_text(meta[key], names[key])
    document["maps"] = {
        name: as_text(meta[key], key)
        for name, keys in _MAPS.items()
        for key in keys
        if meta.get(key) is not None
    }
    schedule = _schedule(meta)
    if schedule is not None:
        document["sampling"] = {"schedule": schedule}
    if canvas is not None:
        document["canvas"] = Canvas(width=canvas[0], height=canvas[1])
    return GroundedPrompt.model_validate(document)


def write_gligen(prompt: GroundedPrompt) -> Written:
    """Write a meta dictionary with the official keys; locations are normalised xyxy.

    Regions with a box are written as boxes; if no region has one, those with 17 keypoints are
    written as GLIGEN's people. Others are dropped.
    """
    boxes = any(region.box for region in prompt.regions)
    kept = [region for region in prompt.regions if region.box or not boxes and _person(region)]
    dropped = unsaid(
        prompt,
        ("prompt", "negative_prompt", "image", "maps", "sampling"),
        ("phrase", "box", "reference") if boxes else ("phrase", "reference", "keypoints"),
    )
    dropped += [
        f"regions[{index}], which has no {'box' if boxes else 'box and no 17 keypoints'}"
        for index, region in enumerate(prompt.regions)
        if region not in kept
    ]
    dropped += [
        f"sampling.{name}"
        for name, value in prompt.sampling
        if value is not None and name != "schedule"
    ]
    meta: dict[str, object] = {
        "prompt": prompt.prompt,
        "phrases": [region.phrase or None for region in kept],
        "locations": [
            list(region.box) if region.box else [list(joint.xy) for joint in region.keypoints]
            for region in kept
        ],
    }
    images = [region.reference.image if region.reference else None for region in kept]
    if any(images):
        meta["images"] = images
    dropped += [
        f"the region of the reference of {region.id}"
        for region in kept
        if region.reference and region.reference.region
    ]
    if prompt.negative_prompt:
        meta["negative_prompt"] = prompt.negative_prompt
    if prompt.image is not None:
        meta["input_image"] = prompt.image
    for name, value in prompt.maps:
        if value is not None:
            meta[_MAPS[name][0]] = value
    if prompt.sampling.schedule is not None:
        meta["alpha_type"] = list(prompt.sampling.schedule)
    return written(meta, dropped, "GLIGEN's meta")


def _regions(
    meta: Mapping[str, object],
    names: Mapping[str, str],
    locations: Sequence[object],
    canvas: Size | None,
    units: Units,
) -> list[dict[str, object]]:
    phrases, images, texts, pictures = (
        _column(meta, key, names.get(key, key), len(locations))
        for key in ("phrases", "images", "text_mask", "image_mask")
    )
    regions: list[dict[str, object]] = []
    for index, location in enumerate(locations):
        where = f"{names['locations']}[{index}]"
        if location in NULL_BOXES:
            _log.warning("%s: %s is GLIGEN's box of nothing; left out", where, describe(location))
            continue
        region = _geometry(location, where, canvas, "pixel" if units == "pixel" else "normalized")
        if phrases[index] is not None and texts[index] not in (0, False):
            region["phrase"] = as_text(phrases[index], f"{names['phrases']}[{index}]")
        if images[index] is not None and pictures[index] not in (0, False):
            region["reference"] = {"image": as_text(images[index], f"{names['images']}[{index}]")}
        regions.append(region)
    return regions


def _column(meta: Mapping[str, object], key: str, name: str, count: int) -> Sequence[object]:
    value = meta.get(key)
    if value is None or isinstance(value, (int, float)) and key.endswith("_mask"):
        return [value] * count
    items = as_list(value, name)
    if len(items) != count:
        raise PromptError(
            f"{name}: has {len(items)} entries, but there are {count} boxes; give one per box"
        )
    return items


def _geometry(location: object, where: str, canvas: Size | None, units: Units) -> dict[str, object]:
    items = as_list(location, where)
    if items and all(isinstance(item, (list, tuple)) for item in items):
        if len(items) != len(JOINTS):
            raise PromptError(
                f"{where}: expected a box, or {len(JOINTS)} joints, got {len(items)} points"
            )
        joints: list[dict[str, object]] = []
        for index, item in enumerate(items):
            x, y = as_numbers(item, 2, f"{where}[{index}]")
            if units == "pixel" and canvas:
                x, y = x / canvas[0], y / canvas[1]
            seen = {} if x or y else {"visibility": 0}  # GLIGEN writes [0, 0] for "not in sight"
            joints.append({"xy": [x, y], "name": JOINTS[index], **seen})
        return {"keypoints": joints}
    x0, y0, x1, y1 = as_numbers(location, 4, where)
    return {"box": box_from((x0, y0, x1, y1), units, canvas, where)}


def _schedule(meta: Mapping[str, object]) -> tuple[float, ...] | None:
    if meta.get("alpha_type") is not None:
        return as_numbers(meta["alpha_type"], 3, "alpha_type")
    if meta.get(_BETA) is None:
        return None
    beta = as_number(meta[_BETA], _BETA)
    if not 0 <= beta <= 1:
        raise PromptError(f"{_BETA}: expected a fraction from 0 to 1, got {beta:g}")
    return beta, 0.0, 1.0 - beta


def _person(region: Region) -> bool:
    return len(region.keypoints) == len(JOINTS)
