"""COCO's objects as subjects of questions: whole pictures, all classes, boxes.

https://cocodataset.org/#format-data: of an instances file the annotations, of a panoptic one the
segments. No mask is needed; without boxes, nothing is asked about places.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from PIL import Image

from grounding.errors import PromptError
from grounding.find_file import FileFinder, coco_finder
from grounding.formats.fields import as_list, as_numbers, as_object, as_text, as_whole, needed
from grounding.geometry import Box, clip_xyxy, pixels_to_normalized, xywh_to_xyxy
from grounding.llava.evaluation.subject import Subject, Thing
from grounding.picture_file import open_picture
from seem.data_file import index_by_id, read_json
from seem.vocabulary import spoken_name

__all__ = ["coco_subjects"]

Entry = Mapping[str, object]


@dataclass
class _Objects:
    """Of one image."""

    things: list[Thing] = field(default_factory=list)
    unsure: set[str] = field(default_factory=set)


def coco_subjects(path: Path, *, limit: int | None = None) -> tuple[list[Subject], tuple[str, ...]]:
    """The images of a file that show something, and the names of all classes.

    A crowd's class is known to be there, but not how often: nothing is asked about it.

    Args:
        path: Of the JSON file; `grounding.find_file.coco_finder` says where images lie.
        limit: Images at most.

    Raises:
        PromptError: It is no such file.
    """
    data = read_json(path)
    try:
        images, names = index_by_id(data, "images"), _names(data)
        objects: defaultdict[int, _Objects] = defaultdict(_Objects)
        for where, number, part in _parts(data):
            if number not in images:
                raise PromptError(f"{where}.image_id: there is no image {number}")
            category = as_whole(needed(part, "category_id", where), f"{where}.category_id", 0)
            if category not in names:
                raise PromptError(f"{where}.category_id: there is no category {category}")
            if part.get("iscrowd"):
                objects[number].unsure.add(names[category])
            else:
                box = _box(part, where, images[number])
                objects[number].things.append(Thing(noun=names[category], box=box))
        chosen = sorted(number for number, found in objects.items() if found.things)[:limit]
        files = {n: as_text(needed(images[n], "file_name", f"image {n}"), "name") for n in chosen}
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    if not chosen:
        raise PromptError(f"{path}: expected images with objects; got none")
    find = coco_finder(path, images.values())
    subjects = [
        Subject(
            name=files[number],
            picture=partial(_picture, find, files[number]),
            things=tuple(objects[number].things),
            unsure=frozenset(objects[number].unsure),
        )
        for number in chosen
    ]
    return subjects, tuple(dict.fromkeys(names.values()))


def _names(data: Entry) -> dict[int, str]:
    names = {}
    for number, entry in index_by_id(data, "categories").items():
        name = as_text(needed(entry, "name", f"category {number}"), f"category {number}: name")
        names[as_whole(number, "id", 0)] = spoken_name(name)
    return names


def _parts(data: Entry) -> Iterator[tuple[str, int, Entry]]:
    """Where each object or segment stands, the id of its image, and the entry itself."""
    for place, value in enumerate(as_list(needed(data, "annotations", ""), "annotations")):
        where = f"annotations[{place}]"
        entry = as_object(value, where)
        number = as_whole(needed(entry, "image_id", where), f"{where}.image_id", 0)
        if "segments_info" not in entry:
            yield where, number, entry
            continue
        for index, part in enumerate(as_list(entry["segments_info"], f"{where}.segments_info")):
            here = f"{where}.segments_info[{index}]"
            yield here, number, as_object(part, here)


def _box(part: Entry, where: str, image: Entry) -> Box | None:
    """The box of an object, if the file has it and the size of its image."""
    if not {"width", "height"} <= image.keys() or part.get("bbox") is None:
        return None
    x, y, w, h = as_numbers(part["bbox"], 4, f"{where}.bbox")
    width, height = (as_whole(image[side], side) for side in ("width", "height"))
    return clip_xyxy(pixels_to_normalized(xywh_to_xyxy((x, y, w, h)), (width, height)))


def _picture(find: FileFinder, name: str) -> Image.Image:
    return open_picture(find(name))
