"""Which data `lavallama evaluate segmentation` measures on: the sticker world, or what a path is.

A folder is recognised by the names of its files, itself or in its folder `annotations`:

    panoptic*.json            COCO panoptic, with the PNGs in the folder of that name
    instances*.json           COCO instances; so is Roboflow's _annotations.coco.json
    phrases*.json             phrases, our own form (`seem.evaluation.phrase_source`)
    refs*.json                RefCOCO's references, beside instances.json
    ImageSets/2017/val.txt    DAVIS 2017

A file that is named itself may be called as it likes, if it is COCO's.
"""

from fnmatch import fnmatch
from pathlib import Path

from grounding.errors import PromptError
from grounding.find_file import COCO_FILES
from grounding.formats.foreign import COCO_PANOPTIC
from grounding.stickers.world import World
from pipelines.evaluate.coco_kind import coco_kind
from seem.evaluation.coco_source import instances_source, panoptic_source
from seem.evaluation.davis_source import LIST, davis_source
from seem.evaluation.phrase_source import phrase_source, refcoco_source
from seem.evaluation.sample import Source
from seem.evaluation.sticker_source import sticker_source

__all__ = ["STICKERS", "open_source"]

STICKERS = "stickers"
PATTERNS = ("panoptic*.json", *COCO_FILES, "phrases*.json", "refs*.json")


def open_source(
    data: str, *, world: World, scenes: int, split: str, limit: int | None = None
) -> Source:
    """Open the data.

    Args:
        data: "stickers", a folder, or one of its files.
        world: Of the stickers.
        scenes: How many of them.
        split: Of RefCOCO's references.
        limit: Images, or films, of a folder at most.

    Raises:
        PromptError: the path holds none of the above, or several.
    """
    if data == STICKERS:
        if limit is not None:
            raise PromptError("--limit is for folders; say --scenes for the sticker world")
        return sticker_source(world, scenes)
    path = Path(data)
    if not path.exists():
        raise PromptError(f"{path}: no such file or folder; expected {STICKERS!r} or a data set")
    if path.is_dir() and (path / LIST).exists():
        return davis_source(path, limit=limit)
    file = _annotations(path) if path.is_dir() else path
    if fnmatch(file.name, "panoptic*.json"):
        return panoptic_source(file, limit=limit)
    if any(fnmatch(file.name, pattern) for pattern in COCO_FILES):
        return instances_source(file, limit=limit)
    if fnmatch(file.name, "phrases*.json"):
        return phrase_source(file, limit=limit)
    if fnmatch(file.name, "refs*.json"):
        return refcoco_source(file, split=split, limit=limit)
    kind = coco_kind(file)
    if kind is not None:
        return (panoptic_source if kind == COCO_PANOPTIC else instances_source)(file, limit=limit)
    raise PromptError(
        f"{file}: expected a file named as one of {', '.join(PATTERNS)}, or COCO's annotations"
    )


def _annotations(folder: Path) -> Path:
    found = [
        file
        for place in (folder, folder / "annotations")
        for pattern in PATTERNS
        for file in sorted(place.glob(pattern))
    ]
    if any(fnmatch(file.name, "refs*.json") for file in found):
        found = [file for file in found if file.name != "instances.json"]
    if not found:
        raise PromptError(
            f"{folder}: expected one of {', '.join(PATTERNS)}, or {LIST}; found none of them"
        )
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise PromptError(f"{folder}: holds {names}; name one of these files")
    return found[0]
