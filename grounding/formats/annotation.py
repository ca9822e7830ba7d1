"""A COCO annotation, read leniently: a part that makes no sense costs itself alone, and is noted.

Training, generation and evaluation read annotations by these rules:

- Ids are whole numbers or text; 1 and "1" are the same.
- A box that sticks out of its picture is clipped; without one, that around the outline is taken.
- A ring of fewer than three points is left out; an outline that sticks out is clipped.
- What is not used is not looked at.

Format: https://cocodataset.org/#format-data
"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grounding.errors import PromptError
from grounding.formats.fields import as_list, as_object, as_text, needed
from grounding.formats.remarks import Remarks
from grounding.formats.units import PIXEL_SLACK, Units, box_from, needs_canvas
from grounding.geometry import Box, Size, clip_xyxy, pixels_to_normalized, xywh_to_xyxy
from grounding.jsonfile import describe
from grounding.region import MAX_SIDE, Region, RleMask

__all__ = [
    "PARTS",
    "Entry",
    "Id",
    "Segment",
    "NO_SENSE",
    "category_name",
    "clip_ring",
    "find_category",
    "group_by_image",
    "identify",
    "image_size",
    "in_order",
    "index_by_id",
    "is_crowd",
    "name_categories",
    "pixel_rings",
    "read_annotation",
    "read_box",
    "read_rle",
    "read_segment",
    "same_shape",
    "told_or_seen",
    "used_categories",
]

Entry = Mapping[str, object]
Id = int | str
Xy = tuple[float, float]

PARTS = ("outline", "keypoints", "attributes", "score", "id")  # beside the box and the phrase
SHAPE_SLACK = 0.02  # between a picture's shape and the one that its annotations were made for
LONGEST_NUMBER = 18  # digits of an id that is written as text
CLIPPED_BOX = "a box clipped to its picture"
CLIPPED_OUTLINE = "an outline clipped to its picture"
NO_PART = "a part of an outline left out"
NO_SENSE = "an annotation that makes no sense"
NO_CATEGORY = "a category that the file does not name"
NOT_LISTED = "an annotation of an image that the file does not list"


def identify(value: object, where: str) -> Id:
    """An id as ids are compared: a whole number, also if it is written as text; else text.

    Raises:
        PromptError: it is neither.
    """
    if isinstance(value, str) and value.strip():
        digits = value.isascii() and value.isdigit() and len(value) <= LONGEST_NUMBER
        return int(value) if digits and str(int(value)) == value else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise PromptError(f"{where}: expected an id, a whole number or text, got {describe(value)}")


def in_order(ids: Collection[Id]) -> list[Id]:
    """Sort ids: numbers, then texts."""
    return sorted(ids, key=lambda one: (isinstance(one, str), one))


def index_by_id(data: Entry, key: str, remarks: Remarks | None = None) -> dict[Id, Entry]:
    """The entries of a list by their ids; one that is there twice, word for word, counts once.

    Args:
        data: of the file.
        key: of the list.
        remarks: notes entries that are no object or have no id; None: they are refused.

    Raises:
        PromptError: as told, or two entries that differ have one id.
    """
    entries: dict[Id, Entry] = {}
    for place, value in enumerate(as_list(needed(data, key, ""), key)):
        where = f"{key}[{place}]"
        try:
            entry = as_object(value, where)
            number = identify(needed(entry, "id", where), f"{where}.id")
        except PromptError as error:
            if remarks is None:
                raise
            remarks.lose(f"an entry of {key} that makes no sense", str(error))
            continue
        if entries.get(number, entry) != entry:
            raise PromptError(f"{where}.id: {number} appears twice; ids must be unique")
        entries[number] = entry
    return entries


def group_by_image(
    data: Entry, images: Collection[Id], remarks: Remarks
) -> dict[Id, list[tuple[str, Entry]]]:
    """The annotations of each image that has some, each with its place in the file.

    Args:
        data: of the file.
        images: ids of those that the file lists.
        remarks: notes annotations of no image.

    Raises:
        PromptError: there is no list of annotations.
    """
    groups: defaultdict[Id, list[tuple[str, Entry]]] = defaultdict(list)
    for place, value in enumerate(as_list(needed(data, "annotations", ""), "annotations")):
        where = f"annotations[{place}]"
        try:
            entry = as_object(value, where)
            number = identify(needed(entry, "image_id", where), f"{where}.image_id")
        except PromptError as error:
            remarks.lose(NO_SENSE, str(error))
            continue
        if number in images:
            groups[number].append((where, entry))
        else:
            remarks.lose(NOT_LISTED, f"{where}.image_id: {describe(number)}")
    return dict(groups)


def name_categories(data: Entry, used: Collection[Id]) -> dict[Id, str]:
    """The names of a file's categories by their ids.

    A category that nothing uses, and that others have as their supercategory, is none: exports of
    Roboflow begin with one.

    Args:
        data: of the file.
        used: ids that annotations have.

    Raises:
        PromptError: there is no list of categories, or one has no name.
    """
    categories = index_by_id(data, "categories")
    above = {entry.get("supercategory") for entry in categories.values()}
    names = {}
    for number, entry in categories.items():
        name = category_name(entry, f"category {number}")
        is_root = name in above and entry.get("supercategory") in (None, "", "none")
        if number in used or not is_root:
            names[number] = name
    return names


def category_name(entry: Entry, where: str) -> str:
    """The name of a category; a number, such as a digit's, is its text.

    Raises:
        PromptError: it has none.
    """
    name = needed(entry, "name", where)
    if isinstance(name, int | float) and not isinstance(name, bool):
        return describe(name)
    return as_text(name, f"{where}: name")


def used_categories(annotations: Iterable[Entry]) -> set[Id]:
    """The ids of the categories of annotations, or of the segments of panoptic ones."""
    used = set()
    for annotation in annotations:
        segments = annotation.get("segments_info")
        for entry in segments if isinstance(segments, list) else [annotation]:
            number = entry.get("category_id") if isinstance(entry, Mapping) else None
            try:
                used.add(identify(number, "category_id"))
            except PromptError:
                continue
    return used


def find_category(
    annotation: Entry, names: Collection[Id], where: str, remarks: Remarks
) -> Id | None:
    """The id of an annotation's category; None, and noted, if the file does not name it."""
    try:
        number = identify(annotation.get("category_id"), f"{where}.category_id")
        if number not in names:
            raise PromptError(f"{where}.category_id: no category has the id {describe(number)}")
    except PromptError as error:
        remarks.lose(NO_CATEGORY, str(error))
        return None
    return number


def image_size(entry: Entry, width: str = "width", height: str = "height") -> Size | None:
    """(width, height) of an image as its entry says; None if it does not."""
    sides = []
    for name in (width, height):
        number = _number(entry.get(name))
        if number is None or not number.is_integer() or not 1 <= number <= MAX_SIDE:
            return None
        sides.append(int(number))
    return sides[0], sides[1]


def told_or_seen(
    told: Size | None, name: object, read_size: Callable[[str], Size | None] | None
) -> Size | None:
    """(width, height) of an image as its file tells, or else as its picture shows.

    Args:
        told: what the file tells.
        name: of the picture.
        read_size: looks at it, or returns None.
    """
    if told is None and read_size is not None and isinstance(name, str):
        return read_size(name)
    return told


def same_shape(told: Size, real: Size) -> bool:
    """Whether a picture has the shape that its annotations were made for, of whatever size."""
    return abs(told[0] * real[1] / (told[1] * real[0]) - 1) <= SHAPE_SLACK


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A segment of a panoptic map.

    Attributes:
        id: its colour as a number, above 0.
        category: the id of its category.
        crowd: whether it is a group that was not told apart.
        area: in pixels, as its file says; 0 if it does not.
    """

    id: int
    category: Id
    crowd: bool
    area: float


def read_segment(
    value: object, where: str, categories: Collection[Id], remarks: Remarks
) -> Segment | None:
    """Read an entry of "segments_info"; None, and noted, if it makes no sense.

    Args:
        value: the entry.
        where: its place in the file.
        categories: ids of those that the file names.
        remarks: notes what is left out.
    """
    try:
        entry = as_object(value, where)
        number = identify(needed(entry, "id", where), f"{where}.id")
        if not isinstance(number, int) or number < 1:
            raise PromptError(
                f"{where}.id: expected a whole number above 0, which is the background, got "
                f"{describe(number)}"
            )
    except PromptError as error:
        remarks.lose("a segment that makes no sense", str(error))
        return None
    category = find_category(entry, categories, where, remarks)
    if category is None:
        return None
    area = _number(entry.get("area")) or 0.0
    return Segment(id=number, category=category, crowd=is_crowd(entry), area=area)


def is_crowd(annotation: Entry) -> bool:
    """Whether an annotation is of a group that was not told apart; 0 and "0" are no."""
    value = annotation.get("iscrowd")
    return bool(value) and value not in ("0", "false", "False")


def read_box(
    annotation: Entry,
    where: str,
    canvas: Size | None,
    remarks: Remarks,
    units: Units = "pixel",
) -> Box | None:
    """The box of an annotation, or the one around its outline; normalised xyxy.

    Args:
        annotation: the entry.
        where: its place in the file.
        canvas: (width, height) of the picture.
        remarks: notes what was clipped, and a box that made no sense beside an outline.
        units: "normalized" if coordinates are fractions.

    Returns:
        None if there is neither box nor outline.

    Raises:
        PromptError: there is no box that makes sense on the picture.
    """
    flaw = None
    if annotation.get("bbox") not in (None, [], ()):
        try:
            return _bbox(annotation["bbox"], f"{where}.bbox", canvas, remarks, units)
        except PromptError as error:
            flaw = error
    around = _box_around(annotation.get("segmentation"), where, canvas, units)
    if flaw is not None:
        if around is None:
            raise flaw
        remarks.change("a box taken from its outline", str(flaw))
    return around


def pixel_rings(value: object, where: str, remarks: Remarks) -> list[list[float]]:
    """The rings of an outline, each x, y, x, y, ... of three points or more, as they are.

    Args:
        value: COCO's "segmentation", unless it is run lengths.
        where: its place in the file.
        remarks: notes rings that make no sense.

    Raises:
        PromptError: there are rings, and none makes sense.
    """
    given = as_list(value, where)
    if given and all(_number(item) is not None for item in given):
        remarks.change("an outline without its inner list", where)
        given = [given]
    rings, flaws = [], []
    for index, flat in enumerate(given):
        place = f"{where}[{index}]"
        try:
            numbers = [_finite(item, place) for item in as_list(flat, place)]
            if len(numbers) % 2 or len(numbers) < 6:
                raise PromptError(f"{place}: expected x, y, x, y, ... of 3 points or more")
            if max(map(abs, numbers)) > MAX_SIDE:
                raise PromptError(f"{place}: expected pixels, got {max(numbers, key=abs):g}")
            rings.append(numbers)
        except PromptError as error:
            flaws.append(error)
    if flaws and not rings:
        raise flaws[0]
    for flaw in flaws:
        remarks.change(NO_PART, str(flaw))
    return rings


def read_rle(value: Entry, where: str, size: Size | None) -> RleMask:
    """Read COCO's run lengths, as text or as numbers.

    Args:
        value: COCO's "segmentation", or a mask of a document.
        where: its place in the file.
        size: (width, height) of the picture, which may be of another size, but not of another
            shape; None: nobody knows.

    Raises:
        PromptError: they are none, or of another shape.
    """
    try:
        mask = RleMask.model_validate(
            {key: value[key] for key in ("size", "counts") if key in value}
        )
    except PromptError as error:
        raise PromptError(f"{where}: {error}") from None
    height, width = mask.size
    if size is not None and not same_shape((width, height), size):
        raise PromptError(
            f"{where}: run lengths of {width}x{height} pixels do not fit the picture of "
            f"{size[0]}x{size[1]}"
        )
    return mask


def clip_ring(ring: Sequence[Xy], limits: Box = (0.0, 0.0, 1.0, 1.0)) -> list[Xy]:
    """Cut a polygon to a box (Sutherland and Hodgman, CACM 1974); fewer than 3 points: nothing."""
    points = list(ring)
    for axis in (0, 1):
        for limit, sign in ((limits[axis], 1), (limits[axis + 2], -1)):
            kept: list[Xy] = []
            for before, point in zip([*points[-1:], *points[:-1]], points, strict=True):
                inside, was_inside = ((p[axis] - limit) * sign >= 0 for p in (point, before))
                if inside != was_inside:
                    share = (limit - before[axis]) / (point[axis] - before[axis])
                    crossing = [before[k] + share * (point[k] - before[k]) for k in (0, 1)]
                    crossing[axis] = limit
                    kept.append((crossing[0], crossing[1]))
                if inside:
                    kept.append(point)
            points = kept
    low_x, low_y, high_x, high_y = limits
    return [(min(max(x, low_x), high_x), min(max(y, low_y), high_y)) for x, y in points]


def read_annotation(
    annotation: Entry,
    where: str,
    *,
    canvas: Size | None,
    category: Entry,
    remarks: Remarks,
    units: Units = "pixel",
    parts: Collection[str] = PARTS,
) -> Region | None:
    """Read an annotation as a region.

    Args:
        annotation: the entry.
        where: its place in the file.
        canvas: (width, height) of the picture.
        category: its entry.
        remarks: notes what is left out.
        units: "normalized" if coordinates are fractions.
        parts: of `PARTS`, those that are wanted beside box and phrase; others are not looked at.

    Returns:
        None if nothing of it makes sense.
    """
    try:
        return _region(annotation, where, canvas, category, remarks, units, parts)
    except PromptError as error:
        remarks.lose(NO_SENSE, str(error))
        return None


def _region(
    annotation: Entry,
    where: str,
    canvas: Size | None,
    category: Entry,
    remarks: Remarks,
    units: Units,
    parts: Collection[str],
) -> Region:
    phrase = category.get("name", "")
    region: dict[str, Any] = {"phrase": phrase if isinstance(phrase, str) else describe(phrase)}
    if "id" in parts and annotation.get("id") is not None:
        region["id"] = str(annotation["id"])[:128]
    size = (1, 1) if units == "normalized" else canvas
    noted = Remarks()
    region["box"] = read_box(annotation, where, canvas, noted, units)
    if "outline" in parts:
        try:
            region |= _outline(annotation.get("segmentation"), where, size, noted)
        except PromptError as error:
            if region["box"] is None:
                raise
            noted.change(NO_PART, str(error))
    if "keypoints" in parts:
        region["keypoints"] = _joints(annotation, category, where, size, noted)
    if not any(region.get(part) for part in ("box", "polygon", "mask", "keypoints")):
        raise PromptError(f"{where}: has neither a box nor an outline; add one")
    if "attributes" in parts:
        region["attributes"] = _attributes(annotation, where, noted)
    if "score" in parts:
        region["score"] = _score(annotation, where, noted)
    try:
        read = Region.model_validate(region)
    except PromptError as error:
        raise PromptError(f"{where}.{error}") from None
    remarks.changed += noted.changed
    return read


def _bbox(value: object, where: str, canvas: Size | None, remarks: Remarks, units: Units) -> Box:
    """A box xywh, clipped."""
    numbers = [_finite(item, where) for item in as_list(value, where)]
    if len(numbers) != 4:
        raise PromptError(f"{where}: expected 4 numbers, got {describe(numbers)}")
    x, y, width, height = numbers
    if units == "normalized":
        return box_from((x, y, width, height), units, canvas, where, "xywh")
    for side, name in ((width, "width"), (height, "height")):
        if side <= 0:
            raise PromptError(f"{where}: the {name} must be above 0, got {side:g}")
    size = needs_canvas(canvas, where)
    box = xywh_to_xyxy((x, y, width, height))
    clipped = clip_xyxy(box, (0.0, 0.0, float(size[0]), float(size[1])))
    if clipped is None:
        raise PromptError(
            f"{where}: {describe(numbers)} lies outside the canvas of {size[0]}x{size[1]} pixels"
        )
    if max(abs(a - b) for a, b in zip(box, clipped, strict=True)) > PIXEL_SLACK:
        remarks.change(CLIPPED_BOX, f"{where}: {describe(numbers)}")
    placed = clip_xyxy(pixels_to_normalized(clipped, size))
    if placed is None:
        raise PromptError(f"{where}: {describe(numbers)} is too small to be told from nothing")
    return placed


def _box_around(value: object, where: str, canvas: Size | None, units: Units) -> Box | None:
    """The box around an outline or a mask; None if there is none that makes sense."""
    if value in (None, [], {}):
        return None
    size = (1, 1) if units == "normalized" else canvas
    try:
        outline = _outline(value, where, size, Remarks())
    except PromptError:
        return None
    if "mask" in outline:
        from grounding.masks import bitmap_to_box, rle_to_bitmap

        return bitmap_to_box(rle_to_bitmap(outline["mask"]))
    xs, ys = zip(*(xy for ring in outline["polygon"] for xy in ring), strict=True)
    box = (min(xs), min(ys), max(xs), max(ys))
    return box if box[0] < box[2] and box[1] < box[3] else None


def _outline(value: object, where: str, size: Size | None, remarks: Remarks) -> dict[str, Any]:
    """A region's polygon or mask; nothing if there is none."""
    if value in (None, [], {}):
        return {}
    place = f"{where}.segmentation"
    if isinstance(value, Mapping):
        return {"mask": read_rle(value, place, None if size == (1, 1) else size)}
    rings, sticks_out = [], False
    for flat in pixel_rings(value, place, remarks):
        width, height = needs_canvas(size, place)
        slack = (PIXEL_SLACK / width, PIXEL_SLACK / height)
        ring = [(x / width, y / height) for x, y in _pairs(flat)]
        outside = any(not -slack[k] <= xy[k] <= 1 + slack[k] for xy in ring for k in (0, 1))
        sticks_out |= outside
        clipped = clip_ring(ring)
        if len(clipped) >= 3:
            rings.append(clipped)
    if not rings:
        raise PromptError(f"{place}: lies outside the canvas")
    if sticks_out:
        remarks.change(CLIPPED_OUTLINE, place)
    return {"polygon": rings}


def _score(annotation: Entry, where: str, remarks: Remarks) -> float | None:
    """A confidence from 0 to 1; None: there is no such."""
    score = _number(annotation.get("score"))
    if score is None or 0 <= score <= 1:
        return score
    remarks.change("a score that is not 0 to 1 left out", f"{where}.score: {score:g}")
    return None


def _joints(
    annotation: Entry, category: Entry, where: str, size: Size | None, remarks: Remarks
) -> list[dict[str, Any]]:
    """Keypoints; what is not on the picture is not labelled."""
    if not annotation.get("keypoints"):
        return []
    try:
        return _labelled(annotation, category, where, size, remarks)
    except PromptError as error:
        remarks.change("joints left out", str(error))
        return []


def _labelled(
    annotation: Entry, category: Entry, where: str, size: Size | None, remarks: Remarks
) -> list[dict[str, Any]]:
    place, named = f"{where}.keypoints", category.get("keypoints")
    names = named if isinstance(named, list) else []
    flat = as_list(annotation["keypoints"], place)
    if len(flat) % 3:
        raise PromptError(f"{place}: expected x, y, visibility, x, y, visibility, ...")
    numbers = [_finite(item, place) for item in flat]
    width, height = needs_canvas(size, place)
    joints: list[dict[str, Any]] = []
    for index in range(len(flat) // 3):
        x, y, seen = numbers[3 * index : 3 * index + 3]
        if seen not in (0, 1, 2):
            raise PromptError(f"{place}: visibility is 0, 1 or 2, got {seen:g}")
        inside = (min(max(x, 0.0), width), min(max(y, 0.0), height))
        if seen and max(abs(x - inside[0]), abs(y - inside[1])) > PIXEL_SLACK * (size != (1, 1)):
            remarks.change("a joint outside its picture", f"{place}[{3 * index}]: {x:g}, {y:g}")
            seen = 0
        joint: dict[str, Any] = {"xy": (inside[0] / width, inside[1] / height)}
        if index < len(names) and isinstance(names[index], str) and names[index]:
            joint["name"] = names[index]
        joints.append(joint | {"visibility": int(seen)})
    return joints


def _attributes(annotation: Entry, where: str, remarks: Remarks) -> dict[str, Any]:
    """Attributes that say something: texts, numbers and flags."""
    given = annotation.get("attributes")
    kept: dict[str, Any] = {}
    if isinstance(given, Mapping):
        for key, value in given.items():
            plain = isinstance(value, bool | int | float | str)
            if plain and (not isinstance(value, float) or math.isfinite(value)):
                kept[key] = value
            elif value is not None:
                remarks.change("an attribute left out", f"{where}.attributes.{key}")
    elif given:
        remarks.change("an attribute left out", f"{where}.attributes: {describe(given)}")
    if is_crowd(annotation):
        kept["iscrowd"] = 1
    return kept


def _pairs(flat: Sequence[float]) -> Iterator[Xy]:
    return zip(flat[::2], flat[1::2], strict=True)


def _number(value: object) -> float | None:
    """A finite number, also if it is written as text; None: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _finite(value: object, where: str) -> float:
    number = _number(value)
    if number is None:
        raise PromptError(f"{where}: expected a number, got {describe(value)}")
    return number
