"""COCO panoptic's pictures to learn from. https://cocodataset.org/#format-data

Axes: H W pixels. Segments of things and of stuff are objects alike, each with its class as its
name; what belongs to no segment is a background without a name, and so are crowds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from grounding.errors import LavallamaError, PromptError
from grounding.find_file import coco_finder
from grounding.formats.fields import as_list, as_object, as_text, as_whole, needed
from grounding.picture_file import read_picture_size
from seem.coco import read_panoptic_png
from seem.data_file import index_by_id, read_image, read_json
from seem.train.scenes import Lexicon, Record
from seem.vocabulary import Vocabulary, spoken_name

__all__ = ["CocoScenes", "open_coco"]

LARGEST_ZOOM = 1.6  # of the shorter side, before a square is cut out
MOST_SEGMENTS = 255  # of one picture


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
    """

    entries: list[_Entry]
    records: list[Record]
    lexicon: Lexicon
    vocabulary: Vocabulary
    size: int

    def name(self, number: int) -> str:
        """The file of the picture."""
        return str(self.entries[number].image)

    def look(self, number: int) -> None:
        """Look at a picture and its map without decoding them.

        Raises:
            PromptError: one is missing or none, or they are of different sizes.
        """
        entry = self._entry(number)
        size, of_map = read_picture_size(entry.image), read_picture_size(entry.png)
        if size != of_map:
            raise PromptError(
                f"{entry.png}: expected the image's size {size[0]}x{size[1]}, got "
                f"{of_map[0]}x{of_map[1]}"
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
        entry = self._entry(number)
        image = read_image(entry.image)
        try:
            ids = read_panoptic_png(entry.png.read_bytes())
        except OSError as error:
            raise PromptError(f"{entry.png}: cannot be read: {error.strerror}") from None
        except LavallamaError as error:
            raise PromptError(f"{entry.png}: {error}") from None
        if ids.shape != image.shape[:2]:
            raise PromptError(
                f"{entry.png}: expected the image's size {image.shape[:2]}, got {ids.shape}"
            )
        owners = np.zeros(ids.shape, np.uint8)
        for place, segment in enumerate(entry.ids, 1):
            owners[ids == segment] = place
        height, width = ids.shape
        side = self.size * generator.uniform(1, LARGEST_ZOOM)
        scale = side / min(height, width)
        size = (max(self.size, round(width * scale)), max(self.size, round(height * scale)))
        image = cv2.resize(
            image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        )
        owners = cv2.resize(owners, size, interpolation=cv2.INTER_NEAREST_EXACT)
        x, y = (int(generator.integers(side - self.size + 1)) for side in size)
        place = np.s_[y : y + self.size, x : x + self.size]
        return image[place], owners[place]


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
    data = read_json(path)
    try:
        images, categories = index_by_id(data, "images"), index_by_id(data, "categories")
        names = {
            number: spoken_name(as_text(needed(entry, "name", "a category"), "a category's name"))
            for number, entry in categories.items()
        }
        annotations = as_list(needed(data, "annotations", ""), "annotations")
        find = coco_finder(path, images.values())
        entries, records = [], []
        for place, value in enumerate(annotations):
            where = f"annotations[{place}]"
            annotation = as_object(value, where)
            image = images.get(needed(annotation, "image_id", where))
            if image is None:
                raise PromptError(f"{where}.image_id: there is no such image")
            segments = _segments(annotation, names, where)
            name, found, problem = as_text(needed(image, "file_name", where), where), None, ""
            try:
                found = find(name)
            except PromptError as error:
                problem = str(error)
            entries.append(
                _Entry(
                    image=found or Path(name),
                    png=path.with_suffix("") / as_text(annotation.get("file_name"), where),
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
        raise PromptError(f"{path}: expected annotated images; got none")
    things = {n: bool(entry.get("isthing", 1)) for n, entry in categories.items()}
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
    )


def _segments(
    annotation: Mapping[str, object], names: Mapping[object, str], where: str
) -> list[tuple[int, str | None]]:
    """Ids and names of a picture's segments, the largest if there are too many."""
    segments = []
    for place, value in enumerate(as_list(needed(annotation, "segments_info", where), where)):
        here = f"{where}.segments_info[{place}]"
        segment = as_object(value, here)
        category = as_whole(needed(segment, "category_id", here), f"{here}.category_id", 0)
        if category not in names:
            raise PromptError(f"{here}.category_id: there is no category {category}")
        name = None if segment.get("iscrowd") else names[category]
        area = as_whole(segment.get("area", 0), f"{here}.area", 0)
        segments.append((area, as_whole(needed(segment, "id", here), f"{here}.id", 0), name))
    largest = sorted(segments, key=lambda s: -s[0])[:MOST_SEGMENTS]
    return [(number, name) for _, number, name in largest]
