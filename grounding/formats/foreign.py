"""What a JSON file is, by its content: said where a file of another kind is wanted.

Formats: COCO's https://cocodataset.org/#format-data and #format-results; SA-1B's
https://github.com/facebookresearch/segment-anything#dataset; Ideogram 4's and FLUX 3's as in
diffusers' pipelines; https://docs.comfy.org/built-in-nodes/MOSSImageLayoutPrompt and
CreateBoundingBoxes; Label Studio's https://labelstud.io/guide/export.
"""

from collections.abc import Callable, Mapping
from typing import Any

from grounding.errors import PromptError

__all__ = [
    "COCO_INSTANCES",
    "COCO_PANOPTIC",
    "DOCUMENT",
    "LABELME",
    "NOT_READ",
    "check_kind",
    "name_kind",
]

COCO_RESULTS = "a results file of COCO"
COCO_INSTANCES = "COCO instances"
COCO_PANOPTIC = "COCO panoptic segments"
COCO_CAPTIONS = "COCO captions"
SA_1B = "a file of SA-1B, masks without names"
LABELME = "a LabelMe file"
DOCUMENT = "a prompt document"
RECORDS = "LLaVA records"
IDEOGRAM = "a caption of Ideogram 4"
FLUX = "a layout of FLUX 3"
MOSS = "a layout of MOSS-Image"
COMFYUI = "ComfyUI's bounding boxes"
LABEL_STUDIO = "an export of Label Studio"

MOSS_SIGN = "abs_centralized"
PLAIN_BOXES = 'write [{"phrase": TEXT, "box": [x0, y0, x1, y1]}], in fractions'

# How to get from what is known to what is wanted.
_CURES = {
    (LABELME, COCO_INSTANCES): "name the folder that holds it, beside its picture",
    (DOCUMENT, COCO_INSTANCES): "name the folder that holds it, beside its picture of its name, or "
    "write documents as JSON lines (.jsonl)",
    (COCO_CAPTIONS, COCO_INSTANCES): "name the instances file; captions go to --captions",
    (COCO_INSTANCES, COCO_PANOPTIC): "make PNGs of segment ids with panopticapi "
    "(converters/detection2panoptic_coco_format.py), or have `lavallama annotate` write all of it",
}
# What is known and cannot be read as a prompt document, and what to give in its place.
NOT_READ = {
    COCO_RESULTS: "it names categories by numbers alone; give the instances that it is about",
    COCO_PANOPTIC: "its shapes are in its PNGs; give instances (bbox, segmentation)",
    SA_1B: "nothing says what they are; give the picture itself to `lavallama annotate`",
    RECORDS: "conversations are for `lavallama train llava`; " + PLAIN_BOXES,
    LABEL_STUDIO: "export COCO there",
    IDEOGRAM: f"its boxes are [y0, x0, y1, x1] of 1000; {PLAIN_BOXES}",
    FLUX: f"its boxes are [y0, x0, y1, x1] of 1000; {PLAIN_BOXES}",
    MOSS: f"its boxes are [y0, x0, y1, x1] in pixels from the centre; {PLAIN_BOXES}",
    COMFYUI: f"its boxes are x, y, width and height, and nameless; {PLAIN_BOXES}",
}


def _first(data: Any, key: str | None = None) -> Mapping[str, Any]:
    """The first object of a list; an empty one if there is none."""
    values = data if key is None else data.get(key) if isinstance(data, Mapping) else None
    first = values[0] if isinstance(values, list) and values else None
    return first if isinstance(first, Mapping) else {}


def _holds(data: Any, *keys: str) -> bool:
    return isinstance(data, Mapping) and set(keys) <= data.keys()


_SIGNS: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    (DOCUMENT, lambda data: _holds(data, "schema") or bool(_first(data, "regions"))),
    (SA_1B, lambda data: _holds(_first(data, "annotations"), "predicted_iou")),
    (COCO_PANOPTIC, lambda data: _holds(_first(data, "annotations"), "segments_info")),
    (COCO_CAPTIONS, lambda data: _holds(_first(data, "annotations"), "caption")),
    (
        COCO_INSTANCES,
        lambda data: (
            not {"category_id", "bbox", "segmentation"}.isdisjoint(_first(data, "annotations"))
        ),
    ),
    (COCO_RESULTS, lambda data: _holds(_first(data), "image_id", "category_id")),
    (LABELME, lambda data: _holds(data, "shapes")),
    (RECORDS, lambda data: _holds(_first(data), "conversations")),
    (LABEL_STUDIO, lambda data: _holds(_first(_first(data), "annotations"), "result")),
    (IDEOGRAM, lambda data: _holds(data, "compositional_deconstruction")),
    (IDEOGRAM, lambda data: _holds(data, "high_level_description")),
    (FLUX, lambda data: _holds(_first(data), "id", "bbox", "desc")),
    (FLUX, lambda data: _holds(_first(data), "id", "tgt_bbox")),
    (MOSS, lambda data: isinstance(data, Mapping) and MOSS_SIGN in map(_plain, data.values())),
    (COMFYUI, lambda data: _holds(_first(data), "x", "y", "width", "height")),
)


def _plain(value: object) -> object:
    """A value that can be compared: of an object, whether it speaks of MOSS-Image's pixels."""
    if isinstance(value, Mapping):
        return MOSS_SIGN if MOSS_SIGN in map(str, value.values()) else None
    return value


def name_kind(data: object) -> str | None:
    """Say what parsed JSON is, such as "a LabelMe file"; None: nothing that is known."""
    return next((name for name, told in _SIGNS if told(data)), None)


def check_kind(data: object, wanted: str) -> None:
    """Refuse parsed JSON that is known to be something else.

    Raises:
        PromptError: what it is, what is wanted, and how to get there.
    """
    kind = name_kind(data)
    if kind not in (None, wanted):
        cure = _CURES.get((kind, wanted)) or NOT_READ.get(kind, "")
        raise PromptError(f"is {kind}, expected {wanted}{f': {cure}' if cure else ''}")
