"""Annotated pictures to train a SEEM on, in whatever form: each with outlines or masks, and names.

COCO panoptic maps are read by `seem.train.coco_scenes`; all else by `pipelines.training.sources`: COCO
instances, LabelMe, prompt documents, JSON lines, shards; a folder of these.
"""  # noqa: E501

import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from grounding.drops import Dropped, Drops
from grounding.errors import LavallamaError, PromptError
from grounding.find_file import COCO_FILES
from grounding.formats.annotation import same_shape
from grounding.formats.foreign import COCO_PANOPTIC
from grounding.geometry import Size
from grounding.picture_file import read_picture_size
from grounding.prompt import Region, RleMask
from pipelines.evaluate.coco_kind import coco_kind
from pipelines.training.sources import Found, open_source
from seem.train.annotated_scenes import MOST_REGIONS, AnnotatedPicture, AnnotatedScenes
from seem.train.coco_scenes import CocoScenes, open_coco
from seem.train.scenes import Scenes
from seem.train.thing_names import speak_names
from seem.vocabulary import Vocabulary

__all__ = ["OwnData", "OwnScenes", "open_own"]

PANOPTIC = "panoptic*.json"
TOLD = 20  # names that are told
MOST_WORDS = 12  # of a name: two of them, and what is said of their places, are 32 tokens


class OwnScenes(Scenes, Protocol):
    """Scenes whose pictures can be told apart, and seen whole."""

    def digest(self, number: int) -> str:
        """sha256 of a picture's file."""
        ...

    def look(self, number: int) -> None:
        """Look at a picture; raises a `LavallamaError` if there is none."""
        ...

    def whole(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A whole picture [H, W, 3], and whose each pixel is [H, W]."""
        ...


@dataclass(frozen=True, kw_only=True)
class OwnData:
    """A data set.

    Attributes:
        scenes: Its pictures.
        readable: Numbers of those that can be read.
        digests: Of their files, by those numbers.
        things: Names of things.
        stuff: Names of what cannot be counted.
        spellings: Each name as the data writes it, and what it is called; None: nothing.
        digest: Of all that is learned from.
        drops: What of it is not used, or not as it was.
    """

    scenes: OwnScenes
    readable: tuple[int, ...]
    digests: tuple[str, ...]
    things: tuple[str, ...]
    stuff: tuple[str, ...]
    spellings: Mapping[str, str | None]
    digest: str
    drops: Drops

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return self.things + self.stuff

    @property
    def vocabulary(self) -> Vocabulary:
        """Things and stuff apart."""
        return Vocabulary(things=self.things, stuff=self.stuff)

    def names_said(self) -> str:
        """The first names, each with other ways in which the data writes it."""
        told = []
        for name in self.names[:TOLD]:
            others = [w for w, said in self.spellings.items() if said == name and w != name]
            told.append(f"{name} (written {', '.join(others)})" if others else name)
        more = len(self.names) - len(told)
        return ", ".join(told) + (f" and {more} more" if more else "")


def open_own(data: str, *, size: int, known: Sequence[str], folder: Path) -> OwnData:
    """Open a data set, and look at all of it.

    Args:
        data: A path; a pattern for several shards.
        size: Pixels of a side of what is learned from.
        known: Names that the model has, for those that are written in several ways.
        folder: Of the run.

    Raises:
        PromptError: there is no such data, or nothing in it can be used.
    """
    path, drops = Path(data), Drops()
    if path.is_dir():
        path = _annotations(path) or path
    if _is_panoptic(path):
        scenes, stuff, said = _panoptic(path, size, known)
        drops = scenes.drops
        things = [name for name in scenes.lexicon.concepts if name not in stuff]
    else:
        source = open_source(str(path), folder=folder, outlines=True, drops=drops)
        pictures = _gather(source, drops)
        written = dict.fromkeys(name or "" for one in pictures for name in one.names)
        said = speak_names(written, known)
        pictures = [
            replace(one, names=tuple(said[name or ""] for name in one.names)) for one in pictures
        ]
        scenes, stuff = AnnotatedScenes(pictures=pictures, size=size), ()
        things = scenes.lexicon.concepts
    kinds = tuple(things), tuple(stuff)
    return _looked_at(data, scenes, drops, kinds, said)


def _looked_at(
    data: str,
    scenes: OwnScenes,
    drops: Drops,
    kinds: tuple[Sequence[str], Sequence[str]],
    said: Mapping[str, str | None],
) -> OwnData:
    """The data, whose pictures have all been looked at.

    Raises:
        PromptError: none can be used.
    """
    readable, digests = [], []
    for number in tqdm(
        range(len(scenes.records)), "looking at the data", disable=None, leave=False
    ):
        try:
            scenes.look(number)
            digests.append(scenes.digest(number))
            readable.append(number)
        except LavallamaError as error:
            drops.picture(scenes.name(number), Dropped("cannot be read", str(error)))
    if not readable:
        raise PromptError(
            f"{data}: expected pictures whose regions have outlines or masks; got none{drops.why()}"
        )
    every = scenes.records
    records = [every[number] for number in readable]
    drops.pictures, drops.regions = len(records), sum(len(one.concepts) for one in records)
    shown = {name for record in records for name in record.concepts if name}
    if not shown:
        raise PromptError(f"{data}: nothing in it has a name; expected labels, or phrases")
    return OwnData(
        scenes=scenes,
        readable=tuple(readable),
        digests=tuple(digests),
        things=tuple(name for name in kinds[0] if name in shown),
        stuff=tuple(name for name in kinds[1] if name in shown),
        spellings={written: name for written, name in said.items() if name in shown},
        digest=_digest(scenes, readable, digests),
        drops=drops,
    )


def _is_panoptic(path: Path) -> bool:
    if any(fnmatch(path.name, pattern) for pattern in COCO_FILES):
        return False  # which may be large: nobody reads it twice
    return fnmatch(path.name, PANOPTIC) or coco_kind(path) == COCO_PANOPTIC


def _panoptic(
    path: Path, size: int, known: Sequence[str]
) -> tuple[CocoScenes, tuple[str, ...], dict[str, str | None]]:
    """Scenes of panoptic maps, the names of their stuff, and how names are said."""
    scenes = open_coco(path, size)
    said = speak_names(scenes.lexicon.concepts, known)
    records = [
        replace(one, concepts=tuple(None if n is None else said[n] for n in one.concepts))
        for one in scenes.records
    ]
    names = dict.fromkeys(filter(None, said.values()))
    stuff = {said[name] for name in scenes.vocabulary.stuff}
    lexicon = replace(scenes.lexicon, concepts=tuple(names))
    scenes = replace(scenes, records=records, lexicon=lexicon)
    return scenes, tuple(name for name in names if name in stuff), said


def _annotations(folder: Path) -> Path | None:
    """The file of COCO's that a folder holds, if it holds one; panoptic maps before outlines.

    Raises:
        PromptError: it holds several of a kind.
    """
    for pattern in (PANOPTIC, *COCO_FILES):
        places = (folder, folder / "annotations")
        found = [file for place in places for file in sorted(place.glob(pattern))]
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise PromptError(f"{folder}: holds {names}; name one of these files")
        if found:
            return found[0]
    return None


def _gather(source: Iterable[Found], drops: Drops) -> list[AnnotatedPicture]:
    """Pictures with regions that have outlines; what cannot be used is counted."""
    pictures = []
    for found in tqdm(source, "looking at the data", disable=None, leave=False):
        try:
            pictures.append(_annotated(found, drops))
        except Dropped as dropped:
            drops.picture(found.name, dropped)
        finally:
            drops.add(found.name, found.remarks)
    return pictures


def _annotated(found: Found, drops: Drops) -> AnnotatedPicture:
    try:
        data = found.read()
        size = read_picture_size(io.BytesIO(data))
    except OSError as error:
        raise Dropped("no such file", (error.strerror or str(error)).lower()) from None
    except PromptError as error:
        detail = str(error).partition(": ")[2] or str(error)
        raise Dropped("a picture that cannot be read", detail) from None
    try:
        document = found.document()
    except ValueError as error:  # ours, or of JSON and Unicode
        raise Dropped("a document that makes no sense", str(error)) from None
    told = document.canvas
    if told is not None and not same_shape(told.size, size):
        raise Dropped(
            "a picture of another shape than its annotations",
            f"{size[0]}x{size[1]} for {told.width}x{told.height}",
        )
    regions, lost = _outlined(document.regions, size)
    drops.of_picture(found.name, lost)
    if not regions:
        raise Dropped("no region with an outline or a mask is left")
    return AnnotatedPicture(
        name=found.name,
        digest=hashlib.sha256(data).hexdigest(),
        read=found.read,
        regions=tuple(regions),
        names=tuple("" if one.attributes.get("iscrowd") else one.phrase for one in regions),
    )


def _outlined(regions: Iterable[Region], size: Size) -> tuple[list[Region], list[tuple[str, str]]]:
    """Regions that can be learned from, and why the others cannot."""
    kept, lost = [], []
    for region in regions:
        where = region.phrase or region.id
        if region.mask is None and not region.polygon:
            lost.append(("a region without an outline or a mask", where))
        elif region.mask is not None and not _fits(region.mask, size):
            lost.append(("a mask of another shape than its picture", where))
        elif len(re.findall(r"\w+|[^\w\s]", region.phrase)) > MOST_WORDS:
            lost.append((f"a name of more than {MOST_WORDS} words", where))
        elif len(kept) == MOST_REGIONS:
            lost.append((f"beyond the first {MOST_REGIONS} regions", where))
        else:
            kept.append(region)
    return kept, lost


def _fits(mask: RleMask, size: Size) -> bool:
    height, width = mask.size
    return same_shape((width, height), size)


def _digest(scenes: OwnScenes, readable: Sequence[int], digests: Sequence[str]) -> str:
    """Of pictures, names and outlines."""
    whole = hashlib.sha256()
    records = scenes.records
    for number, digest in zip(readable, digests, strict=True):
        whole.update(f"{digest} {records[number].concepts}\n".encode())
        if isinstance(scenes, AnnotatedScenes):
            for region in scenes.pictures[number].regions:
                whole.update(region.model_dump_json().encode())
    return whole.hexdigest()
