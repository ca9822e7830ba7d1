"""COCO's data: panoptic maps, or objects. https://cocodataset.org/#format-data

Axes: H W the image. Panoptic: a JSON file and a folder with a PNG for each image, whose colours
are the ids of the file's "segments_info". Objects: a JSON file with "segmentation"s.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int

from grounding.drops import Dropped, Drops
from grounding.errors import LavallamaError, PromptError
from grounding.find_file import FileFinder, coco_finder
from grounding.formats.annotation import (
    NO_SENSE,
    Entry,
    Id,
    Segment,
    find_category,
    group_by_image,
    in_order,
    index_by_id,
    is_crowd,
    name_categories,
    read_segment,
    used_categories,
)
from grounding.formats.fields import as_list, as_text, needed
from grounding.formats.foreign import COCO_INSTANCES, COCO_PANOPTIC
from grounding.formats.remarks import Remarks
from grounding.jsonfile import describe
from seem.coco import read_panoptic_png
from seem.data_file import (
    read_json,
    read_or_drop,
    read_segmentation,
    told_size,
)
from seem.evaluation.sample import Phrase, Sample, Search, Source, Truth
from seem.vocabulary import spoken_name

__all__ = ["MIN_AREA", "instances_source", "panoptic_source"]

MIN_AREA = 0.005  # of the image: smaller segments are not clicked on, only counted
MARKS = ("clicks", "box", "scribble", "mask")
TASKS = (*MARKS, "phrase", "panoptic")


def panoptic_source(path: Path, *, limit: int | None = None) -> Source:
    """COCO panoptic.

    Args:
        path: The JSON file. The PNGs lie in the folder beside it that has its name, the images in
            "images", in a folder named as the last part of the file's name ("val2017"), or beside.
        limit: Images at most.

    Raises:
        PromptError: the file is none of these.
    """
    data = read_json(path, COCO_PANOPTIC)
    try:
        reader = _Reader(path, data)
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    maps = path.with_suffix("")
    if reader.groups and not maps.is_dir():
        raise PromptError(
            f"{path}: expected the panoptic PNGs in the folder {maps}; put them there"
        )
    chosen, find = in_order(reader.groups)[:limit], FileFinder([maps])

    def samples() -> Iterator[Sample]:
        for number in chosen:
            for where, entry in reader.groups[number]:
                yield from reader.panoptic(number, entry, find, where)

    segments = [entry for _, entry in reader.entries()]
    if segments and not any(entry.get("segments_info") for entry in segments):
        raise PromptError(f"{path}: expected segments to measure; all segments_info are empty")
    return reader.source("COCO panoptic", len(chosen), samples)


def instances_source(path: Path, *, limit: int | None = None) -> Source:
    """COCO instances; the images lie as those of `panoptic_source`.

    Raises:
        PromptError: the file is none of these, or has nothing that can be measured.
    """
    data = read_json(path, COCO_INSTANCES)
    try:
        reader = _Reader(path, data)
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    numbers = in_order(reader.groups)[:limit]
    chosen = [entry for number in numbers for _, entry in reader.groups[number]]
    outlined = [entry for entry in chosen if entry.get("segmentation")]
    if chosen and not outlined:
        raise PromptError(
            f"{path}: expected outlines or masks to measure (segmentation); all {len(chosen)} "
            "annotations have boxes alone: export polygons or masks"
        )
    if outlined and all(is_crowd(entry) for entry in outlined):
        raise PromptError(
            f"{path}: expected objects to measure; all {len(outlined)} annotations with an outline "
            "are crowds (iscrowd)"
        )

    def samples() -> Iterator[Sample]:
        for number in numbers:
            yield from reader.objects(number)

    return reader.source("COCO instances", len(numbers), samples)


class _Reader:
    """What the two kinds of files share."""

    def __init__(self, path: Path, data: Entry) -> None:
        self.path, self.drops, remarks = path, Drops(), Remarks()
        self.images = index_by_id(data, "images", remarks)
        self.groups = group_by_image(data, self.images, remarks)
        self.drops.add(path.name, remarks)
        named = name_categories(data, used_categories(entry for _, entry in self.entries()))
        if not named:
            raise PromptError("categories: expected at least one")
        names = list(named.values())
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise PromptError(
                f"categories: {describe(twice[0])} names {len(twice)} of them; give them names "
                "that differ, or one id"
            )
        self.names = tuple(names)
        self.label = {number: index for index, number in enumerate(named)}
        kinds = index_by_id(data, "categories")
        self.things = frozenset(
            name for number, name in named.items() if kinds[number].get("isthing", 1)
        )
        self.find = coco_finder(path, self.images.values())
        self.left_out: dict[str, int] = {}

    def entries(self) -> list[tuple[str, Entry]]:
        """All annotations, each with its place in the file."""
        return [one for group in self.groups.values() for one in group]

    def source(self, what: str, count: int, samples) -> Source:
        if not count:
            raise PromptError(f"{self.path}: expected annotated images; got none{self.drops.why()}")
        return Source(
            what=f"{what} from {self.path.name}, {count} image{'s' * (count != 1)}",
            classes=self.names,
            things=self.things,
            tasks=TASKS,
            usual=MARKS,
            count=count,
            samples=samples,
            left_out=self.left_out,
            drops=self.drops,
            facts={"least_area": MIN_AREA},
        )

    def panoptic(self, number: Id, entry: Entry, find: FileFinder, where: str) -> Iterator[Sample]:
        """The sample of an image with its map; none, and counted, if one cannot be read."""
        remarks, truths = Remarks(), []
        try:
            pixels, name = self._pixels(number)
            ids = _ids(entry, where, find, pixels.shape[:2])
            for place, value in enumerate(as_list(entry["segments_info"], where)):
                here = f"{where}.segments_info[{place}]"
                segment = read_segment(value, here, self.label, remarks)
                if segment is not None:
                    truths += self._truth(ids == segment.id, self.label[segment.category], segment)
        except Dropped as dropped:
            self._drop(number, dropped)
            return
        self.drops.add(name, remarks)
        yield self._sample(name, pixels, truths, complete=True)

    def objects(self, number: Id) -> Iterator[Sample]:
        """The sample of an image with its objects."""
        try:
            pixels, name = self._pixels(number)
            told = told_size(self.images[number], pixels)
        except Dropped as dropped:
            self._drop(number, dropped)
            return
        remarks, truths = Remarks(), []
        for where, entry in self.groups[number]:
            category = find_category(entry, self.label, where, remarks)
            if category is None:
                continue
            try:
                mask = read_segmentation(
                    entry.get("segmentation"),
                    pixels.shape[:2],
                    f"{where}.segmentation",
                    told=told,
                    remarks=remarks,
                )
            except PromptError as error:
                remarks.lose(NO_SENSE, str(error))
                continue
            segment = Segment(id=0, category=category, crowd=is_crowd(entry), area=0)
            truths += self._truth(mask, self.label[category], segment)
        self.drops.add(name, remarks)
        yield self._sample(name, pixels, truths, complete=False)

    def _drop(self, number: Id, dropped: Dropped) -> None:
        """Count an image that is not measured."""
        name = self.images[number].get("file_name")
        self.drops.picture(name if isinstance(name, str) else f"image {number}", dropped)

    def _pixels(self, number: Id) -> tuple[np.ndarray, str]:
        image = self.images[number]
        try:
            name = as_text(needed(image, "file_name", f"image {number}"), f"image {number}: name")
        except PromptError as error:
            raise Dropped("an image without a file name", str(error)) from None
        return read_or_drop(self.find, name), Path(name).stem

    def _truth(self, mask: np.ndarray, label: int, segment: Segment) -> list[Truth]:
        """The truth of a segment; none if it has no pixel."""
        thing = self.names[label] in self.things
        group = "things" if thing else "stuff"
        if not mask.any():
            self._leave("segments without a pixel")
            return []
        if segment.crowd:
            self._leave("crowds")
            group = ""
        elif mask.mean() < MIN_AREA:
            self._leave(f"segments smaller than {MIN_AREA:.1%} of their image")
            group = ""
        return [Truth(mask=mask, label=label, thing=thing, crowd=segment.crowd, group=group)]

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


def _ids(
    entry: Entry, where: str, find: FileFinder, size: tuple[int, int]
) -> Int[np.ndarray, "H W"]:
    """The map of an image, whose entry lists its segments.

    Raises:
        Dropped: there is none, or none that fits.
    """
    try:
        name = as_text(needed(entry, "file_name", where), f"{where}.file_name")
        as_list(needed(entry, "segments_info", where), f"{where}.segments_info")
        file = find(name)
        return read_panoptic_png(file.read_bytes(), file, size)
    except OSError as error:
        detail = f"{error.filename}: {(error.strerror or str(error)).lower()}"
    except LavallamaError as error:
        detail = str(error)
    raise Dropped("a panoptic map that cannot be read", detail)
