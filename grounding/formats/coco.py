"""COCO instances: images, annotations (bbox in xywh pixels, segmentation, keypoints), categories.

Format: https://cocodataset.org/#format-data
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from grounding.errors import PromptError
from grounding.formats.annotation import (
    Entry,
    Id,
    category_name,
    find_category,
    group_by_image,
    identify,
    image_size,
    read_annotation,
    told_or_seen,
)
from grounding.formats.fields import as_list, as_object, as_text
from grounding.formats.remarks import Remarks
from grounding.formats.units import Units, box_to_xywh_pixels, to_pixels
from grounding.formats.written import Written, unsaid, written
from grounding.geometry import Size
from grounding.jsonfile import describe
from grounding.prompt import GroundedPrompt, Region

__all__ = ["join_coco", "read_coco", "write_coco"]

_log = logging.getLogger(__name__)


def read_coco(
    data: Mapping[str, object],
    *,
    canvas: Size | None = None,
    units: Units = "auto",
    image: int | str | None = None,
    remarks: Remarks | None = None,
    read_size: Callable[[str], Size | None] | None = None,
) -> GroundedPrompt:
    """Read the annotations of one image.

    Args:
        data: parsed JSON.
        canvas: `(width, height)`, used if the file does not say the image's size.
        units: "normalized" if the boxes are fractions; otherwise pixels, as COCO has.
        image: id or file name of the image; needed if the file holds several.
        remarks: notes what is left out or clipped (`grounding.formats.annotation`).
        read_size: returns (width, height) of the picture of a name, or None; asked before `canvas`.

    Raises:
        PromptError: one line that names the entry.
    """
    remarks = Remarks() if remarks is None else remarks
    images = [as_object(v, f"images[{i}]") for i, v in _items(data, "images")]
    chosen = _choose(images, image)
    canvas = told_or_seen(image_size(chosen), chosen.get("file_name"), read_size) or canvas
    categories: dict[Id, Entry] = {}
    for index, value in _items(data, "categories"):
        category = as_object(value, f"categories[{index}]")
        category_name(category, f"categories[{index}]")
        if category.get("id") is not None:
            categories[identify(category["id"], f"categories[{index}].id")] = category
    document: dict[str, object] = {}
    regions: list[Region] = []
    for where, annotation in _of_image(data, images, chosen, remarks):
        if "caption" in annotation:
            caption = as_text(annotation["caption"], f"{where}.caption")
            if document.setdefault("prompt", caption) != caption:
                _log.warning("%s: only the first caption is kept", where)
            continue
        category: Entry = {}
        if annotation.get("category_id") is not None:
            number = find_category(annotation, categories, where, remarks)
            if number is None:
                continue
            category = categories[number]
        kind: Units = "normalized" if units == "normalized" else "pixel"
        region = read_annotation(
            annotation, where, canvas=canvas, category=category, remarks=remarks, units=kind
        )
        regions += [] if region is None else [region]
    document["regions"] = _with_unique_ids(regions, remarks)
    if canvas is not None:
        document["canvas"] = {"width": canvas[0], "height": canvas[1]}
    if chosen.get("file_name") is not None:
        document["image"] = as_text(chosen["file_name"], "file_name")
    return GroundedPrompt.model_validate(document)


def write_coco(
    prompt: GroundedPrompt, *, canvas: Size | None = None, names: Sequence[str] = ()
) -> Written:
    """Write one image with its annotations; `join_coco` joins several.

    Each annotation has a box and an area: those of its outline or mask, if it has one. Regions
    that cover nothing are left out.

    Args:
        prompt: the document.
        canvas: `(width, height)` in pixels; by default the document's.
        names: of all categories, in the order of their ids, from 1; phrases that are none of them
            follow.

    Raises:
        PromptError: neither says the size in pixels.
    """
    size = canvas or (prompt.canvas.size if prompt.canvas else None)
    if size is None:
        raise PromptError("COCO counts in pixels; give the document a canvas (width and height)")
    held = ("phrase", "box", "polygon", "mask", "keypoints", "attributes", "score", "id")
    dropped = unsaid(prompt, ("canvas", "image"), held)
    numbers = _numbered(prompt, dropped)
    ids = {name: number for number, name in enumerate(dict.fromkeys(names), 1)}
    categories: dict[str, dict[str, object]] = {
        name: {"id": number, "name": name} for name, number in ids.items()
    }
    annotations: list[dict[str, object]] = []
    for index, (region, number) in enumerate(zip(prompt.regions, numbers, strict=True)):
        entry = _annotation(region, size)
        if entry is None:
            dropped.append(f"regions[{index}], which covers nothing")
            continue
        category = categories.setdefault(
            region.phrase, {"id": len(categories) + 1, "name": region.phrase}
        )
        if region.keypoints:
            joints = [joint.name or "" for joint in region.keypoints]
            if category.setdefault("keypoints", joints) != joints:
                dropped.append(f"regions[{index}].keypoints' names")
        if region.mask and "counts" not in entry.get("segmentation", ()):
            why = ", beside its polygon" if region.polygon else ", which is empty"
            dropped.append(f"regions[{index}].mask{why}")
        annotations.append({"id": number, "image_id": 1, "category_id": category["id"], **entry})
    content = {
        "images": [
            {"id": 1, "width": size[0], "height": size[1]}
            | ({"file_name": prompt.image} if prompt.image is not None else {})
        ],
        "annotations": annotations,
        "categories": list(categories.values()),
    }
    return written(content, dropped, "COCO")


def join_coco(contents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Join COCO files: images and annotations are numbered anew, categories joined by their names.

    Args:
        contents: parsed instances files, such as those of `lavallama segment --save coco`.
    """
    joined: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": []}
    categories: dict[str, dict[str, Any]] = {}
    for content in contents:
        images, names = {}, {}
        for image in content["images"]:
            images[image["id"]] = len(joined["images"]) + 1
            joined["images"].append({**image, "id": images[image["id"]]})
        for category in content["categories"]:
            name = category["name"]
            named = categories.setdefault(name, {**category, "id": len(categories) + 1})
            names[category["id"]] = named["id"]
        for annotation in content["annotations"]:
            changes = {
                "id": len(joined["annotations"]) + 1,
                "image_id": images[annotation["image_id"]],
                "category_id": names[annotation["category_id"]],
            }
            joined["annotations"].append({**annotation, **changes})
    joined["categories"] = list(categories.values())
    return joined


def _items(data: Mapping[str, object], key: str) -> list[tuple[int, object]]:
    return list(enumerate(as_list(data.get(key, []), key)))


def _choose(images: Sequence[Entry], image: int | str | None) -> Entry:
    if image is None:
        if len(images) > 1:
            shown = ", ".join(
                describe(item.get("file_name", item.get("id"))) for item in images[:3]
            )
            raise PromptError(
                f"images: holds {len(images)}; choose one by id or file name, such as {shown}"
            )
        return images[0] if images else {}
    for item in images:
        if str(image) in (str(item.get("id")), item.get("file_name")):
            return item
    raise PromptError(f"images: none has the id or file name {describe(image)}")


def _of_image(
    data: Entry, images: Sequence[Entry], chosen: Entry, remarks: Remarks
) -> Iterator[tuple[str, Entry]]:
    """The annotations of the chosen image; of a file without images, all."""
    known = {
        identify(item["id"], f"images[{index}].id")
        for index, item in enumerate(images)
        if item.get("id") is not None
    }
    if chosen.get("id") is None or len(images) == 1 and _none_says_which(data):
        for index, value in _items(data, "annotations"):
            yield f"annotations[{index}]", as_object(value, f"annotations[{index}]")
        return
    yield from group_by_image(data, known, remarks).get(identify(chosen["id"], "images"), ())


def _none_says_which(data: Entry) -> bool:
    """Whether no annotation names its image, which is clear if there is only one."""
    entries = [value for _, value in _items(data, "annotations") if isinstance(value, Mapping)]
    return not any("image_id" in entry for entry in entries)


def _with_unique_ids(regions: Sequence[Region], remarks: Remarks) -> list[Region]:
    """Regions, of which those whose id was there before have none."""
    seen: set[str] = set()
    unique = []
    for region in regions:
        if region.id and region.id in seen:
            remarks.change("an id that appears twice", f"annotations: id {describe(region.id)}")
            region = region.replace(id="")
        seen.add(region.id)
        unique.append(region)
    return unique


def _numbered(prompt: GroundedPrompt, dropped: list[str]) -> list[int]:
    """Keep ids that are whole numbers above 0, which COCOeval skips, if all are; else count."""
    ids = [region.id for region in prompt.regions]
    if all(
        name.isascii() and name.isdigit() and str(int(name)) == name and name != "0" for name in ids
    ):
        return [int(name) for name in ids]
    dropped += [f"regions[{i}].id" for i, name in enumerate(ids) if name != f"r{i + 1}"]
    return list(range(1, len(ids) + 1))


def _annotation(region: Region, size: Size) -> dict[str, Any] | None:
    """What COCO says of a region; None: it covers nothing."""
    entry: dict[str, Any] = {"iscrowd": int(bool(region.attributes.get("iscrowd")))}
    box, area = region.bounds(), None
    if region.polygon:
        rings = [[value for xy in ring for value in xy] for ring in region.polygon]
        entry["segmentation"] = [to_pixels(ring, size) for ring in rings]
        area = _outline_area(entry["segmentation"], size)
    elif region.mask:
        from grounding.masks import region_box

        counts = region.mask.counts
        area = sum(region.mask.runs()[1::2])
        if area:
            box = box or region_box(region)
            entry["segmentation"] = {
                "size": list(region.mask.size),
                "counts": counts if isinstance(counts, str) else list(counts),
            }
    if region.keypoints:
        entry["keypoints"] = [
            value
            for joint in region.keypoints
            for value in (*to_pixels(joint.xy, size), joint.visibility)
        ]
        seen = [joint.xy for joint in region.keypoints if joint.visibility > 0]
        entry["num_keypoints"] = len(seen)
        if box is None and seen:
            xs, ys = zip(*seen, strict=True)
            box = (min(xs), min(ys), max(xs), max(ys))
    if box is None:
        return None
    sides = box_to_xywh_pixels(box, size)
    entry |= {"bbox": sides, "area": area or sides[2] * sides[3]}
    attributes = {key: value for key, value in region.attributes.items() if key != "iscrowd"}
    if attributes:
        entry["attributes"] = attributes
    if region.score is not None:
        entry["score"] = region.score
    return entry


def _outline_area(rings: Sequence[Sequence[float]], size: Size) -> float:
    """Pixels of an outline: of one ring exactly, of several as COCO counts their union."""
    if len(rings) == 1:
        xs, ys = rings[0][::2], rings[0][1::2]
        turned = zip(xs, ys, [*xs[1:], xs[0]], [*ys[1:], ys[0]], strict=True)
        return abs(sum(x0 * y1 - x1 * y0 for x0, y0, x1, y1 in turned)) / 2
    from pycocotools import mask as coco_mask

    polygons: Any = [list(ring) for ring in rings]  # pycocotools' stubs know no polygons
    return float(coco_mask.area(coco_mask.merge(coco_mask.frPyObjects(polygons, size[1], size[0]))))
