"""COCO instances: images, annotations (bbox in xywh pixels, segmentation, keypoints), categories.

Format: https://cocodataset.org/#format-data
"""

import logging
from collections.abc import Mapping, Sequence

from grounding.errors import PromptError
from grounding.formats.fields import as_list, as_number, as_numbers, as_object, as_text, as_whole
from grounding.formats.units import Units, box_from, box_to_xywh_pixels, from_pixels, to_pixels
from grounding.formats.written import Written, unsaid, written
from grounding.geometry import Size
from grounding.jsonfile import describe
from grounding.prompt import GroundedPrompt, Region

__all__ = ["read_coco", "write_coco"]

_log = logging.getLogger(__name__)


def read_coco(
    data: Mapping[str, object],
    *,
    canvas: Size | None = None,
    units: Units = "auto",
    image: int | str | None = None,
) -> GroundedPrompt:
    """Read the annotations of one image.

    Args:
        data: parsed JSON.
        canvas: `(width, height)`, used if the file does not say the image's size.
        units: "normalized" if the boxes are fractions; otherwise pixels, as COCO has.
        image: id or file name of the image; needed if the file holds several.

    Raises:
        PromptError: one line that names the entry.
    """
    chosen, where = _choose(
        [as_object(v, f"images[{i}]") for i, v in _items(data, "images")], image
    )
    if "width" in chosen and "height" in chosen:
        canvas = (
            as_whole(chosen["width"], f"{where}.width"),
            as_whole(chosen["height"], f"{where}.height"),
        )
    categories: dict[object, Mapping[str, object]] = {}
    for index, value in _items(data, "categories"):
        category = as_object(value, f"categories[{index}]")
        as_text(category.get("name"), f"categories[{index}].name")
        categories[category.get("id")] = category
    document: dict[str, object] = {}
    regions: list[dict[str, object]] = []
    for index, value in _items(data, "annotations"):
        where = f"annotations[{index}]"
        annotation = as_object(value, where)
        if chosen and annotation.get("image_id") != chosen.get("id"):
            continue
        if "caption" in annotation:
            caption = as_text(annotation["caption"], f"{where}.caption")
            if document.setdefault("prompt", caption) != caption:
                _log.warning("%s: only the first caption is kept", where)
            continue
        regions.append(_region(annotation, where, canvas, units, categories))
    document["regions"] = regions
    if canvas is not None:
        document["canvas"] = {"width": canvas[0], "height": canvas[1]}
    if chosen.get("file_name") is not None:
        document["image"] = as_text(chosen["file_name"], "file_name")
    return GroundedPrompt.model_validate(document)


def write_coco(prompt: GroundedPrompt, *, canvas: Size | None = None) -> Written:
    """Write one image with its annotations.

    Args:
        prompt: the document.
        canvas: `(width, height)` in pixels; by default the document's.

    Raises:
        PromptError: neither says the size in pixels.
    """
    size = canvas or (prompt.canvas.size if prompt.canvas else None)
    if size is None:
        raise PromptError("COCO counts in pixels; give the document a canvas (width and height)")
    held = ("phrase", "box", "polygon", "mask", "keypoints", "attributes", "score", "id")
    dropped = unsaid(prompt, ("canvas", "image"), held)
    numbers = _numbered(prompt, dropped)
    categories: dict[str, dict[str, object]] = {}
    annotations: list[dict[str, object]] = []
    for index, (region, number) in enumerate(zip(prompt.regions, numbers, strict=True)):
        category = categories.setdefault(
            region.phrase, {"id": len(categories) + 1, "name": region.phrase}
        )
        if region.keypoints:
            names = [joint.name or "" for joint in region.keypoints]
            if category.setdefault("keypoints", names) != names:
                dropped.append(f"regions[{index}].keypoints' names")
        if region.mask and region.polygon:
            dropped.append(f"regions[{index}].mask, beside its polygon")
        entry = _annotation(region, size)
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


def _items(data: Mapping[str, object], key: str) -> list[tuple[int, object]]:
    return list(enumerate(as_list(data.get(key, []), key)))


def _choose(
    images: Sequence[Mapping[str, object]], image: int | str | None
) -> tuple[Mapping[str, object], str]:
    if image is None:
        if len(images) > 1:
            shown = ", ".join(
                describe(item.get("file_name", item.get("id"))) for item in images[:3]
            )
            raise PromptError(
                f"images: holds {len(images)}; choose one by id or file name, such as {shown}"
            )
        return (images[0], "images[0]") if images else ({}, "images")
    for index, item in enumerate(images):
        if str(image) in (str(item.get("id")), item.get("file_name")):
            return item, f"images[{index}]"
    raise PromptError(f"images: none has the id or file name {describe(image)}")


def _region(
    annotation: Mapping[str, object],
    where: str,
    canvas: Size | None,
    units: Units,
    categories: Mapping[object, Mapping[str, object]],
) -> dict[str, object]:
    region: dict[str, object] = {}
    category = categories.get(annotation.get("category_id"), {})
    if categories and not category:
        raise PromptError(
            f"{where}.category_id: no category has the id {describe(annotation.get('category_id'))}"
        )
    region["phrase"] = category.get("name", "")
    if annotation.get("id") is not None:
        region["id"] = str(annotation["id"])[:128]
    if annotation.get("bbox") is not None:
        x, y, width, height = as_numbers(annotation["bbox"], 4, f"{where}.bbox")
        kind: Units = "normalized" if units == "normalized" else "pixel"
        region["box"] = box_from((x, y, width, height), kind, canvas, f"{where}.bbox", "xywh")
    size = (1, 1) if units == "normalized" else canvas
    outline = annotation.get("segmentation")
    if isinstance(outline, Mapping):
        region["mask"] = {"size": outline.get("size"), "counts": outline.get("counts")}
    elif outline:
        region["polygon"] = _rings(as_list(outline, f"{where}.segmentation"), where, size)
    if annotation.get("keypoints"):
        names = as_list(category.get("keypoints", []), "keypoints")
        region["keypoints"] = _joints(annotation["keypoints"], names, where, size)
    attributes = dict(as_object(annotation.get("attributes", {}), f"{where}.attributes"))
    if annotation.get("iscrowd"):
        attributes["iscrowd"] = 1
    region["attributes"] = attributes
    if annotation.get("score") is not None:
        region["score"] = as_number(annotation["score"], f"{where}.score")
    try:
        Region.model_validate(region)
    except PromptError as error:
        raise PromptError(f"{where}.{error}") from None
    return region


def _rings(
    outline: Sequence[object], where: str, size: Size | None
) -> list[list[tuple[float, float]]]:
    rings: list[list[tuple[float, float]]] = []
    for index, value in enumerate(outline):
        place = f"{where}.segmentation[{index}]"
        flat = as_list(value, place)
        if len(flat) % 2 or len(flat) < 6:
            raise PromptError(f"{place}: expected x, y, x, y, ... of 3 points or more")
        if size is None:
            raise PromptError(f"{place}: pixels need the size of their image; give it")
        numbers = as_numbers(flat, len(flat), place)
        rings.append([from_pixels(numbers[i : i + 2], size, place) for i in range(0, len(flat), 2)])
    return rings


def _joints(
    value: object, names: Sequence[object], where: str, size: Size | None
) -> list[dict[str, object]]:
    place = f"{where}.keypoints"
    flat = as_list(value, place)
    if len(flat) % 3 or size is None:
        raise PromptError(
            f"{place}: expected x, y, visibility, x, y, ... in pixels of an image of known size"
        )
    numbers = as_numbers(flat, len(flat), place)
    joints: list[dict[str, object]] = []
    for index in range(len(flat) // 3):
        x, y, visibility = numbers[3 * index : 3 * index + 3]
        if visibility not in (0, 1, 2):
            raise PromptError(f"{place}: visibility is 0, 1 or 2, got {visibility:g}")
        joint: dict[str, object] = {"xy": from_pixels((x, y), size, place)}
        if index < len(names) and names[index]:
            joint["name"] = names[index]
        joints.append(joint | {"visibility": int(visibility)})
    return joints


def _numbered(prompt: GroundedPrompt, dropped: list[str]) -> list[int]:
    """Keep ids that are whole numbers, if all are; otherwise count."""
    ids = [region.id for region in prompt.regions]
    if all(name.isascii() and name.isdigit() and str(int(name)) == name for name in ids):
        return [int(name) for name in ids]
    dropped += [f"regions[{i}].id" for i, name in enumerate(ids) if name != f"r{i + 1}"]
    return list(range(1, len(ids) + 1))


def _annotation(region: Region, size: Size) -> dict[str, object]:
    entry: dict[str, object] = {"iscrowd": int(bool(region.attributes.get("iscrowd")))}
    if region.box is not None:
        box = box_to_xywh_pixels(region.box, size)
        entry |= {"bbox": box, "area": box[2] * box[3]}
    if region.polygon:
        entry["segmentation"] = [
            to_pixels([value for xy in ring for value in xy], size) for ring in region.polygon
        ]
    elif region.mask:
        counts = region.mask.counts
        entry["segmentation"] = {
            "size": list(region.mask.size),
            "counts": counts if isinstance(counts, str) else list(counts),
        }
        entry["area"] = sum(region.mask.runs()[1::2])
    if region.keypoints:
        entry["keypoints"] = [
            value
            for joint in region.keypoints
            for value in (*to_pixels(joint.xy, size), joint.visibility)
        ]
        entry["num_keypoints"] = sum(joint.visibility > 0 for joint in region.keypoints)
    attributes = {key: value for key, value in region.attributes.items() if key != "iscrowd"}
    if attributes:
        entry["attributes"] = attributes
    if region.score is not None:
        entry["score"] = region.score
    return entry
