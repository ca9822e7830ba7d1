"""Files of COCO's that are not called as COCO calls them: CVAT's, Label Studio's result.json."""

from pathlib import Path

from grounding.errors import PromptError
from grounding.formats.foreign import COCO_INSTANCES, COCO_PANOPTIC, name_kind
from seem.data_file import read_json

__all__ = ["coco_kind"]


def coco_kind(file: Path, least: int = 1) -> str | None:
    """Say whether a file is COCO instances or panoptic segments, by its content.

    Args:
        file: Of any kind.
        least: Images that it must list; of one image it may as well be a prompt document.

    Returns:
        A kind of `grounding.formats.foreign`; None: neither.
    """
    if file.suffix.lower() != ".json" or not file.is_file():
        return None
    try:
        data = read_json(file)
    except PromptError:
        return None
    kind, images = name_kind(data), data.get("images")
    listed = len(images) if isinstance(images, list) else 0
    return kind if listed >= least and kind in (COCO_INSTANCES, COCO_PANOPTIC) else None
