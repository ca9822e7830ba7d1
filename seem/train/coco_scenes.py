"""COCO panoptic's pictures to learn from. https://cocodataset.org/#format-data

Axes: H W pixels. Segments of things and of stuff are objects alike, each with its class as its
name; what belongs to no segment is a background without a name, and so are crowds.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from grounding.drops import Dropped, Drops
from grounding.errors import LavallamaError, PromptError
from grounding.find_file import coco_finder, find_beside
from grounding.formats.annotation import (
    Entry,
    Id,
    group_by_image,
    index_by_id,
    name_categories,
    read_segment,
    same_shape,
    used_categories,
)
from grounding.formats.fields import as_list, as_text, needed
from grounding.formats.foreign import COCO_PANOPTIC
from grounding.formats.remarks import Remarks
from grounding.picture_file import read_picture_size
from seem.coco import HEADER_BYTES, check_panoptic_header, read_panoptic_png
from seem.data_file import read_image, read_json
from seem.train.crop import crop_square
from seem.train.scenes import Lexicon, Record
from seem.vocabulary import Vocabulary, spoken_name

__all__ = ["CocoScenes", "open_coco"]

MOST_SEGMENTS = 250  # of one picture: bytes say whose a pixel is, and a few are laid over it


@dataclass(frozen=True, kw_only=True)
class _Entry:
    image: Path
    png: Path
    ids: tuple[int, ...]
    problem: str = ""  # why there is no such image


@dataclass(frozen=True, kw_only=True)
class CocoScenes:
    """A folder of pictures with panoptic maps.

    Attributes:
        entries: Where each picture and its map are.
        records: Their names.
        lexicon: All classes.
        vocabulary: The same, things and stuff apart.
        size: Pixels of a side of what is read.
        drops: What of the file is not learnt from.
    """

    entries: list[_Entry]
    records: list[Record]
    lexicon: Lexicon
    vocabulary: Vocabulary
    size: int
    drops: Drops

    def name(self, number: int) -> str:
        """The file of the picture."""
        return str(self.entries[number].image)

    def look(self, number: int) -> None:
        """Look at a picture and its map without decoding them.

        Raises:
            PromptError: one is missing or none, or they are of different shapes.
        """
        entry = self._entry(number)
        size, of_map = read_picture_size(entry.image), read_picture_size(entry.png)
        try:
            with entry.png.open("rb") as file:
                check_panoptic_header(file.read(HEADER_BYTES), entry.png)
        except OSError as error:
            raise PromptError(f"{entry.png}: cannot be read: {error.strerror}") from None
        if not same_shape(of_map, size):
            raise PromptError(
                f"{entry.png}: is of another shape than its image: expected {size[0]}x{size[1]}, "
                f"got {of_map[0]}x{of_map[1]}"
            )

    def _entry(self, number: int) -> _Entry:
        entry = self.entries[number]
        if entry.problem:
            raise PromptError(entry.problem)
        return entry

    def read(
        self, number: int, generator: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """A random square of a picture at a random scale.

        Raises:
            PromptError: a file cannot be read, or the two are of different sizes.
        """
        return crop_square(*self.whole(number), self.size, generator)

    def whole(self, number: int) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """A picture, and whose each pixel is. Raises as `read` does."""
        entry = self._entry(number)
        image = read_image(entry.image)
        try:
            ids = read_panoptic_png(entry.png.read_bytes(), entry.png, image.shape[:2])
        except OSError as error:
            raise PromptError(f"{entry.png}: cannot be read: {error.strerror}") from None
        except LavallamaError as error:
            raise PromptError(str(error)) from None
        owners = np.zeros(ids.shape, np.uint8)
        for place, segment in enumerate(entry.ids, 1):
            owners[ids == segment] = place
        return image, owners

    def digest(self, number: int) -> str:
        """sha256 of a picture's file.

        Raises:
            PromptError: it cannot be read.
        """
        entry = self._entry(number)
        try:
            return hashlib.sha256(entry.image.read_bytes()).hexdigest()
        except OSError as error:
            raise PromptError(f"{entry.image}: cannot be read: {error.strerror}") from None


def open_coco(path: Path, size: int) -> CocoScenes:
    """Open a panoptic annotation file.

    Args:
        path: The JSON file; PNGs lie in the folder beside it that has its name, images in "images",
            in a folder named as the last part of the file's name ("train2017"), or beside it.
        size: Pixels of a side of the squares that are read.

    Raises:
        PromptError: it is none; in one line. Whether its pictures are there, `CocoScenes.look`
            tells.
    """
    data, remarks = read_json(path, COCO_PANOPTIC), Remarks()
    drops = Drops()
    try:
        images = index_by_id(data, "images", remarks)
        groups = group_by_image(data, images, remarks)
        annotations = [(n, *one) for n, group in groups.items() for one in group]
        used = used_categories(entry for *_, entry in annotations)
        kinds, named = index_by_id(data, "categories"), name_categories(data, used)
        names = {number: spoken_name(name) for number, name in named.items()}
        drops.add(path.name, remarks)
        find, maps = coco_finder(path, images.values()), path.with_suffix("")
        entries, records = [], []
        for number, where, annotation in annotations:
            image, remarks = images[number], Remarks()
            name = as_text(needed(image, "file_name", f"image {number}"), "file_name")
            segments = _segments(annotation, names, where, remarks)
            drops.add(name, remarks)
            if not segments:
                drops.picture(name, Dropped("a picture without a segment"))
                continue
            found, problem = None, ""
            try:
                found = find(name)
            except PromptError as error:
                problem = str(error)
            entries.append(
                _Entry(
                    image=found or Path(name),
                    png=find_beside(maps, as_text(annotation.get("file_name"), where)),
                    ids=tuple(number for number, _ in segments),
                    problem=problem,
                )
            )
            records.append(
                Record(
                    background=None,
                    concepts=tuple(name for _, name in segments),
                    materials=(None,) * len(segments),
                )
            )
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    if not records:
        raise PromptError(f"{path}: expected annotated images with segments; got none{drops.why()}")
    drops.pictures, drops.regions = len(records), sum(len(one.concepts) for one in records)
    things = {n: bool(kinds[n].get("isthing", 1)) for n in names}
    vocabulary = Vocabulary(
        things=tuple(dict.fromkeys(name for n, name in names.items() if things[n])),
        stuff=tuple(dict.fromkeys(name for n, name in names.items() if not things[n])),
    )
    return CocoScenes(
        entries=entries,
        records=records,
        lexicon=Lexicon(concepts=tuple(dict.fromkeys(vocabulary.names))),
        vocabulary=vocabulary,
        size=size,
        drops=drops,
    )


def _segments(
    annotation: Entry, names: Mapping[Id, str], where: str, remarks: Remarks
) -> list[tuple[int, str | None]]:
    """Ids and names of a picture's segments, the largest if there are too many."""
    values = as_list(needed(annotation, "segments_info", where), f"{where}.segments_info")
    read = [
        read_segment(value, f"{where}.segments_info[{place}]", names, remarks)
        for place, value in enumerate(values)
    ]
    segments = sorted((one for one in read if one is not None), key=lambda one: -one.area)
    for one in segments[MOST_SEGMENTS:]:
        remarks.lose(f"beyond the {MOST_SEGMENTS} largest segments", f"{where}: id {one.id}")
    return [
        (one.id, None if one.crowd else names[one.category]) for one in segments[:MOST_SEGMENTS]
    ]
