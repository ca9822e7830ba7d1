"""Any format in, recognised by content: never by the file's name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from grounding.errors import PromptError
from grounding.formats.coco import read_coco
from grounding.formats.document import read_document
from grounding.formats.gligen import read_gligen
from grounding.formats.labelme import read_labelme
from grounding.formats.lgd import is_lgd_text, read_lgd, read_lgd_text
from grounding.formats.short import read_short
from grounding.formats.units import Units
from grounding.geometry import Size
from grounding.jsonfile import describe, parse_json, read_text
from grounding.prompt import GroundedPrompt

__all__ = ["FORMATS", "Format", "load", "recognise"]

Format = Literal["document", "short", "gligen", "coco", "labelme", "lgd"]
FORMATS: tuple[Format, ...] = ("document", "short", "gligen", "coco", "labelme", "lgd")

_FIELDS = {field.alias or name for name, field in GroundedPrompt.model_fields.items()}


def _holds_objects(data: Mapping[str, object], key: str) -> bool:
    value = data.get(key)
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


_SIGNS: tuple[tuple[Format, Callable[[Mapping[str, object]], bool]], ...] = (
    ("document", lambda data: isinstance(data.get("schema"), str)),
    ("document", lambda data: _holds_objects(data, "regions")),
    ("coco", lambda data: _holds_objects(data, "annotations")),
    ("coco", lambda data: {"annotations", "images"} <= data.keys()),
    ("labelme", lambda data: _holds_objects(data, "shapes")),
    ("labelme", lambda data: {"shapes", "imageWidth"} <= data.keys()),
    ("lgd", lambda data: "gen_boxes" in data),
    ("gligen", lambda data: "gligen_boxes" in data),
    ("gligen", lambda data: {"phrases", "locations"} <= data.keys()),
    ("gligen", lambda data: {"prompt", "locations"} <= data.keys()),
    ("gligen", lambda data: {"prompt", "alpha_type"} <= data.keys()),
)


def load(
    source: str | Path | dict | list,
    *,
    canvas: Size | None = None,
    units: Units = "auto",
    format: Format | Literal["auto"] = "auto",
    image: int | str | None = None,
) -> GroundedPrompt:
    """Read a prompt document from any known format.

    Args:
        source: path of a file, its text, or parsed JSON.
        canvas: `(width, height)` that pixels refer to where the format does not say.
        units: of the coordinates; "auto" takes the format's own, or recognises them where only
            one reading makes sense.
        format: one of `FORMATS`, or "auto" to recognise it by content.
        image: which image of a COCO file, by id or file name.

    Raises:
        PromptError: one line that names the file and the entry, and the cure.
    """
    if units not in ("auto", "normalized", "pixel"):
        raise PromptError(f"units: expected auto, normalized or pixel, got {describe(units)}")
    if format not in ("auto", *FORMATS):
        raise PromptError(f"format: expected auto, {', '.join(FORMATS)}, got {describe(format)}")
    if isinstance(source, (dict, list, tuple)):
        return _read(source, canvas, units, format, image)
    inline = isinstance(source, str) and _is_text(source)
    try:
        text = str(source) if inline else read_text(source)
        return _read_text(text, canvas, units, format, image)
    except PromptError as error:
        raise PromptError(f"{'the text' if inline else source}: {error}") from None


def recognise(data: object) -> Format:
    """Say which format parsed JSON is in.

    Raises:
        PromptError: none of them.
    """
    if isinstance(data, (list, tuple)):
        if data and all(isinstance(item, (list, tuple)) for item in data):
            raise PromptError(
                "a list of pairs does not say whether its boxes are xyxy or xywh; write "
                '[{"phrase": ..., "box": [x0, y0, x1, y1]}] or {"gen_boxes": [...]}'
            )
        return "short"
    if not isinstance(data, Mapping):
        raise PromptError(
            f'expected [{{"phrase": ..., "box": [...]}}] or an object, got {describe(data)}'
        )
    for name, told in _SIGNS:
        if told(data):
            return name
    if data and _FIELDS & data.keys() and not all(map(_is_boxes, data.values())):
        return "document"
    return "short"


def _read_text(
    text: str,
    canvas: Size | None,
    units: Units,
    format: Format | Literal["auto"],
    image: int | str | None,
) -> GroundedPrompt:
    try:
        data = parse_json(text)
    except PromptError as error:
        if format == "lgd" or format == "auto" and is_lgd_text(text):
            return read_lgd_text(text, canvas=canvas, units=units)
        raise error from None
    return _read(data, canvas, units, format, image)


def _read(
    data: object,
    canvas: Size | None,
    units: Units,
    format: Format | Literal["auto"],
    image: int | str | None,
) -> GroundedPrompt:
    kind = recognise(data) if format == "auto" else format
    if kind == "short" and isinstance(data, (list, tuple, Mapping)):
        return read_short(data, canvas=canvas, units=units)
    if not isinstance(data, Mapping):
        raise PromptError(f"expected an object for the format {kind}, got {describe(data)}")
    if kind == "document":
        if units == "pixel":
            raise PromptError("a full document is normalised; divide its boxes by the canvas size")
        return read_document(data)
    if kind == "coco":
        return read_coco(data, canvas=canvas, units=units, image=image)
    readers: dict[str, Callable[..., GroundedPrompt]] = {
        "gligen": read_gligen,
        "labelme": read_labelme,
        "lgd": read_lgd,
    }
    return readers[kind](data, canvas=canvas, units=units)


def _is_text(source: str) -> bool:
    return "\n" in source or source.lstrip()[:1] in ("{", "[") or not source.strip()


def _is_boxes(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(
        isinstance(item, (list, tuple, int, float)) for item in value
    )
