"""COCO's objects as subjects of questions: whole pictures, all classes, boxes.

https://cocodataset.org/#format-data: of an instances file the annotations, of a panoptic one the
segments. No mask is needed; without boxes, nothing is asked about places.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from PIL import Image

from grounding.drops import Dropped, Drops
from grounding.errors import PromptError
from grounding.find_file import FileFinder, coco_finder
from grounding.formats.annotation import (
    NO_SENSE,
    Entry,
    Id,
    find_category,
    group_by_image,
    image_size,
    in_order,
    index_by_id,
    is_crowd,
    name_categories,
    read_box,
    same_shape,
    used_categories,
)
from grounding.formats.fields import as_text, needed
from grounding.formats.remarks import Remarks
from grounding.geometry import Size
from grounding.jsonfile import describe
from grounding.llava.evaluation.subject import Subject, Thing
from grounding.picture_file import open_picture, read_picture_size
from seem.data_file import read_json
from seem.vocabulary import spoken_name

__all__ = ["coco_subjects"]


@dataclass
class _Objects:
    """Of one image."""

    things: list[Thing] = field(default_factory=list)
    unsure: set[str] = field(default_factory=set)


def coco_subjects(
    path: Path, *, limit: int | None = None, drops: Drops | None = None
) -> tuple[list[Subject], tuple[str, ...]]:
    """The images of a file that show something, and the names of all classes.

    A crowd's class is known to be there, but not how often: nothing is asked about it.

    Args:
        path: Of the JSON file; `grounding.find_file.coco_finder` says where images lie.
        limit: Images at most.
        drops: Counts annotations that make no sense, and boxes that are clipped.

    Raises:
        PromptError: It is no such file.
    """
    data, drops = read_json(path), Drops() if drops is None else drops
    remarks = Remarks()
    try:
        images = index_by_id(data, "images", remarks)
        groups = group_by_image(data, images, remarks)
        names = _names(data, groups)
        files = {n: as_text(needed(images[n], "file_name", f"image {n}"), "name") for n in groups}
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    drops.add(path.name, remarks)
    find = coco_finder(path, images.values())
    subjects = []
    for number in in_order(groups):
        noted, size = Remarks(), image_size(images[number])
        try:
            file = find.search(files[number]) if size is None else None
            size = size if file is None else read_picture_size(file)
        except PromptError as error:
            drops.picture(files[number], Dropped("a picture that cannot be read", str(error)))
            continue
        found = _objects(groups[number], names, size, noted)
        drops.add(files[number], noted)
        if found.things and (limit is None or len(subjects) < limit):
            subjects.append(
                Subject(
                    name=files[number],
                    picture=partial(_picture, find, files[number], size),
                    things=tuple(found.things),
                    unsure=frozenset(found.unsure),
                )
            )
    if not subjects:
        raise PromptError(f"{path}: expected images with objects; got none{drops.why()}")
    return subjects, tuple(dict.fromkeys(names.values()))


def _names(data: Entry, groups: Mapping[Id, Sequence[tuple[str, Entry]]]) -> dict[Id, str]:
    used = used_categories(entry for group in groups.values() for _, entry in group)
    return {number: spoken_name(name) for number, name in name_categories(data, used).items()}


def _objects(
    group: Sequence[tuple[str, Entry]],
    names: Mapping[Id, str],
    size: Size | None,
    remarks: Remarks,
) -> _Objects:
    """The objects of an image."""
    found = _Objects()
    for where, part in _parts(group, remarks):
        category = find_category(part, names, where, remarks)
        if category is None:
            continue
        if is_crowd(part):
            found.unsure.add(names[category])
            continue
        try:
            box = None if size is None else read_box(part, where, size, remarks)
        except PromptError as error:
            remarks.change("a box that makes no sense", str(error))
            box = None
        found.things.append(Thing(noun=names[category], box=box))
    return found


def _parts(group: Sequence[tuple[str, Entry]], remarks: Remarks) -> Iterator[tuple[str, Entry]]:
    """Where each object or segment stands, and the entry itself."""
    for where, entry in group:
        segments = entry.get("segments_info", [entry])
        for index, part in enumerate(segments if isinstance(segments, list) else ()):
            here = f"{where}.segments_info[{index}]" if "segments_info" in entry else where
            if isinstance(part, Mapping):
                yield here, part
            else:
                remarks.lose(NO_SENSE, f"{here}: expected an object, got {describe(part)}")


def _picture(find: FileFinder, name: str, told: Size | None) -> Image.Image:
    picture = open_picture(find(name))
    if told is not None and not same_shape(told, picture.size):
        raise PromptError(
            f"{name}: is of another shape than its annotations: expected {told[0]}x{told[1]} "
            f"pixels, got {picture.width}x{picture.height}"
        )
    return picture
