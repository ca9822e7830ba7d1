"""Which layouts `lavallama evaluate grounding` draws: the sticker world, COCO's, or documents.

A path is recognised by its files:

    instances*.json           COCO's boxes, itself, or in a folder or in its folder "annotations";
                              captions*.json beside it gives the prompts, if it is there;
                              so are Roboflow's _annotations.coco.json, and files of any name that
                              are COCO's and list several images
    anything else             prompt documents, in any format of `grounding.formats`, one a file
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from gligen.evaluation.coco_layouts import coco_captions, coco_layouts
from gligen.evaluation.document_layouts import document_layouts
from gligen.evaluation.layout import LayoutSet
from gligen.evaluation.sticker_layouts import held_out_layouts
from grounding.drops import Dropped, Drops
from grounding.errors import PromptError
from grounding.find_file import COCO_FILES, FileFinder, coco_finder
from grounding.formats import load
from grounding.formats.foreign import COCO_INSTANCES
from grounding.formats.remarks import Remarks
from grounding.geometry import Size
from grounding.picture_file import read_picture_size
from grounding.stickers.world import World
from pipelines.evaluate.coco_kind import coco_kind
from seem.data_file import read_image, read_json

__all__ = ["STICKERS", "open_layouts"]

STICKERS = "stickers"
SEVERAL = 2  # images of a file of COCO's; of one it is a prompt document, too
DOCUMENTS = (".json", ".txt")


def open_layouts(data: str, *, world: World, scenes: int, limit: int | None = None) -> LayoutSet:
    """Open the data.

    Args:
        data: "stickers", a file or a folder.
        world: Of the stickers.
        scenes: How many of them.
        limit: Images or documents of a path at most.

    Raises:
        PromptError: the path holds none of the above.
    """
    if data == STICKERS:
        if limit is not None:
            raise PromptError("--limit is for files; say --scenes for the sticker world")
        return held_out_layouts(world, scenes)
    path = Path(data)
    if not path.exists():
        raise PromptError(f"{path}: no such file or folder; expected {STICKERS!r} or a data set")
    instances = _instances(path)
    if instances is not None:
        return _coco(instances, limit)
    files = [path] if path.is_file() else _documents(path)
    documents, drops = [], Drops()
    for file in files:
        if len(documents) == limit:
            break
        remarks = Remarks()
        try:
            documents.append((file.stem, load(file, remarks=remarks)))
        except PromptError as error:
            if path.is_file():
                raise
            drops.picture(file.name, Dropped("a document that makes no sense", str(error)))
        drops.add(file.name, remarks)
    try:
        layouts = document_layouts(documents)
    except PromptError as error:
        raise PromptError(f"{path}: {error}{drops.why()}") from None
    return replace(layouts, drops=drops)


def _instances(path: Path) -> Path | None:
    """The file of COCO's boxes that a path is or holds."""
    if path.is_file():
        is_named = any(fnmatch(path.name, pattern) for pattern in COCO_FILES)
        return path if is_named or coco_kind(path, SEVERAL) == COCO_INSTANCES else None
    found = [
        file
        for place in (path, path / "annotations")
        for pattern in COCO_FILES
        for file in sorted(place.glob(pattern))
    ]
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise PromptError(f"{path}: holds {names}; name one of these files")
    return found[0] if found else None


def _documents(folder: Path) -> Sequence[Path]:
    files = sorted(file for file in folder.iterdir() if file.suffix in DOCUMENTS)
    if not files:
        raise PromptError(
            f"{folder}: expected {COCO_FILES[0]} of COCO, or prompt documents "
            f"({', '.join(DOCUMENTS)}); found neither"
        )
    stems = [file.stem for file in files]
    for file in files:
        if stems.count(file.stem) > 1:
            raise PromptError(f"{folder}: several files are named {file.stem!r:.60}; rename them")
    return files


def _coco(path: Path, limit: int | None) -> LayoutSet:
    """COCO's boxes; its images are the true pictures if the first of them is there."""
    beside = path.with_name(path.name.replace("instances", "captions", 1))
    captions = None
    if beside != path and beside.is_file():
        said = read_json(beside)
        try:
            captions = coco_captions(said)
        except PromptError as error:
            raise PromptError(f"{beside}: {error}") from None
    data = read_json(path, COCO_INSTANCES)
    images = data.get("images")
    find = coco_finder(path, images if isinstance(images, list) else ())
    here = _first_is_here(data, find)

    def image(name: str) -> np.ndarray:
        return read_image(find(name))

    def size(name: str) -> Size | None:
        file = find.search(name)
        return None if file is None else read_picture_size(file)

    try:
        layouts = coco_layouts(
            data,
            captions=captions,
            read_image=image if here else None,
            read_size=size,
            limit=limit,
        )
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    if not here:
        layouts.left_out["true pictures: the images do not lie beside the boxes"] = layouts.count
    return layouts


def _first_is_here(data: Mapping[str, object], find: FileFinder) -> bool:
    """Whether the first image that a file of COCO's names is in one of the folders."""
    images = data.get("images")
    first = images[0] if isinstance(images, list) and images else None
    name = str(first.get("file_name")) if isinstance(first, Mapping) else ""
    return find.search(name) is not None
