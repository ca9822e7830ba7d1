"""COCO's data: panoptic maps, or objects. https://cocodataset.org/#format-data

Axes: H W the image. Panoptic: a JSON file and a folder with a PNG for each image, whose colours
are the ids of the file's "segments_info". Objects: a JSON file with "segmentation"s.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from grounding.errors import LavallamaError, PromptError
from grounding.find_file import coco_finder
from grounding.formats.fields import as_list, as_object, as_text, as_whole, needed
from seem.coco import read_panoptic_png
from seem.data_file import (
    index_by_id,
    read_image,
    read_json,
    read_segmentation,
)
from seem.evaluation.sample import Phrase, Sample, Search, Source, Truth
from seem.vocabulary import spoken_name

__all__ = ["MIN_AREA", "instances_source", "panoptic_source"]

MIN_AREA = 0.005  # of the image: smaller segments are not clicked on, only counted
MARKS = ("clicks", "box", "scribble", "mask")
TASKS = (*MARKS, "phrase", "panoptic")

Entry = Mapping[str, object]


def panoptic_source(path: Path, *, limit: int | None = None) -> Source:
    """COCO panoptic.

    Args:
        path: The JSON file. The PNGs lie in the folder beside it that has its name, the images in
            "images", in a folder named as the last part of the file's name ("val2017"), or beside.
        limit: Images at most.

    Raises:
        PromptError: the file is none of these.
    """
    data = read_json(path)
    try:
        reader = _Reader(path, data)
        entries = reader.annotations(data)
        for where, entry in entries:
            as_text(needed(entry, "file_name", where), f"{where}.file_name")
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    maps = path.with_suffix("")
    if entries and not maps.is_dir():
        raise PromptError(
            f"{path}: expected the panoptic PNGs in the folder {maps}; put them there"
        )
    chosen = sorted(entries, key=lambda item: as_whole(item[1]["image_id"], item[0], 0))[:limit]

    def samples() -> Iterator[Sample]:
        for where, entry in chosen:
            yield reader.panoptic(entry, maps, where)

    return reader.source("COCO panoptic", len(chosen), samples)


def instances_source(path: Path, *, limit: int | None = None) -> Source:
    """COCO instances; the images lie as those of `panoptic_source`.

    Raises:
        PromptError: the file is none of these.
    """
    data = read_json(path)
    by_image: defaultdict[int, list[tuple[str, Entry]]] = defaultdict(list)
    try:
        reader = _Reader(path, data)
        for where, entry in reader.annotations(data):
            by_image[as_whole(entry["image_id"], where, 0)].append((where, entry))
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    numbers = sorted(by_image)[:limit]

    def samples() -> Iterator[Sample]:
        for number in numbers:
            yield reader.objects(number, by_image[number])

    return reader.source("COCO instances", len(numbers), samples)


class _Reader:
    """What the two kinds of files share."""

    def __init__(self, path: Path, data: Mapping[str, object]) -> None:
        self.path = path
        self.images = index_by_id(data, "images")
        self.categories = index_by_id(data, "categories")
        if not self.categories:
            raise PromptError("categories: expected at least one")
        names = [
            as_text(needed(entry, "name", f"category {number}"), f"category {number}: name")
            for number, entry in self.categories.items()
        ]
        if len(set(names)) < len(names):
            raise PromptError("categories: expected names that differ")
        self.names = tuple(names)
        self.label = {number: index for index, number in enumerate(self.categories)}
        self.things = frozenset(
            name
            for name, entry in zip(names, self.categories.values(), strict=True)
            if entry.get("isthing", 1)
        )
        self.find = coco_finder(path, self.images.values())
        self.left_out: dict[str, int] = {}

    def source(self, what: str, count: int, samples) -> Source:
        if not count:
            raise PromptError(f"{self.path}: expected annotated images; got none")
        return Source(
            what=f"{what} from {self.path.name}, {count} image{'s' * (count != 1)}",
            classes=self.names,
            things=self.things,
            tasks=TASKS,
            usual=MARKS,
            count=count,
            samples=samples,
            left_out=self.left_out,
            facts={"least_area": MIN_AREA},
        )

    def annotations(self, data: Mapping[str, object]) -> list[tuple[str, Entry]]:
        entries = []
        for place, value in enumerate(as_list(needed(data, "annotations", ""), "annotations")):
            where = f"annotations[{place}]"
            entry = as_object(value, where)
            self.image(entry, where)
            entries.append((where, entry))
        return entries

    def image(self, entry: Entry, where: str) -> Entry:
        number = as_whole(needed(entry, "image_id", where), f"{where}.image_id", 0)
        if number not in self.images:
            raise PromptError(f"{where}.image_id: there is no image {number}")
        return self.images[number]

    def category(self, entry: Entry, where: str) -> int:
        number = as_whole(needed(entry, "category_id", where), f"{where}.category_id", 0)
        if number not in self.label:
            raise PromptError(f"{where}.category_id: there is no category {number}")
        return self.label[number]

    def panoptic(self, entry: Entry, maps: Path, where: str) -> Sample:
        file = maps / as_text(entry["file_name"], f"{where}.file_name")
        try:
            pixels, name = self._pixels(self.image(entry, where))
            ids = read_panoptic_png(file.read_bytes())
            if ids.shape != pixels.shape[:2]:
                raise PromptError(f"{file.name} is {ids.shape}, the image {pixels.shape[:2]}")
            segments = as_list(needed(entry, "segments_info", where), f"{where}.segments_info")
            truths = []
            for place, value in enumerate(segments):
                here = f"{where}.segments_info[{place}]"
                segment = as_object(value, here)
                mask = ids == as_whole(needed(segment, "id", here), f"{here}.id")
                truths += self._truth(mask, segment, here)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise PromptError(f"{file}: cannot be read: {reason}") from None
        except LavallamaError as error:
            raise PromptError(f"{self.path}: {error}") from None
        return self._sample(name, pixels, truths, complete=True)

    def objects(self, number: int, entries: list[tuple[str, Entry]]) -> Sample:
        try:
            pixels, name = self._pixels(self.images[number])
            truths = []
            for where, entry in entries:
                value = needed(entry, "segmentation", where)
                mask = read_segmentation(value, pixels.shape[:2], f"{where}.segmentation")
                truths += self._truth(mask, entry, where)
        except LavallamaError as error:
            raise PromptError(f"{self.path}: {error}") from None
        return self._sample(name, pixels, truths, complete=False)

    def _pixels(self, image: Entry) -> tuple[np.ndarray, str]:
        name = as_text(needed(image, "file_name", "an image"), "file_name")
        return read_image(self.find(name)), Path(name).stem

    def _truth(self, mask: np.ndarray, entry: Entry, where: str) -> list[Truth]:
        """The segment of an entry; none if it has no pixel."""
        label, crowd = self.category(entry, where), bool(entry.get("iscrowd"))
        thing = self.names[label] in self.things
        group = "things" if thing else "stuff"
        if not mask.any():
            self._leave("segments without a pixel")
            return []
        if crowd:
            self._leave("crowds")
            group = ""
        elif mask.mean() < MIN_AREA:
            self._leave(f"segments smaller than {MIN_AREA:.1%} of their image")
            group = ""
        return [Truth(mask=mask, label=label, thing=thing, crowd=crowd, group=group)]

    def _sample(
        self, name: str, pixels: np.ndarray, truths: list[Truth], *, complete: bool
    ) -> Sample:
        phrases, searches = [], []
        for label in sorted({truth.label for truth in truths if truth.label is not None}):
            targets = tuple(i for i, truth in enumerate(truths) if truth.label == label)
            text = spoken_name(self.names[label])
            thing = self.names[label] in self.things
            kind = "things of a class" if thing else "stuff of a class"
            phrases.append(Phrase(text=text, targets=targets, kind=kind))
            if thing and not any(truths[target].crowd for target in targets):
                searches.append(Search(text=text, targets=targets, kind="things of a class"))
        return Sample(
            name=name,
            image=pixels,
            truths=tuple(truths),
            complete=complete,
            phrases=tuple(phrases),
            searches=tuple(searches),
        )

    def _leave(self, what: str) -> None:
        self.left_out[what] = self.left_out.get(what, 0) + 1
