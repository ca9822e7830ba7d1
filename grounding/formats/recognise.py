"""Any format in, recognised by content: never by the file's name."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from grounding.errors import PromptError
from grounding.find_file import coco_finder
from grounding.formats.coco import read_coco
from grounding.formats.document import read_document
from grounding.formats.foreign import NOT_READ, name_kind
from grounding.formats.gligen import read_gligen
from grounding.formats.labelme import read_labelme
from grounding.formats.lgd import is_lgd_text, read_lgd, read_lgd_text
from grounding.formats.remarks import Remarks
from grounding.formats.short import read_short
from grounding.formats.units import Units
from grounding.geometry import Size
from grounding.jsonfile import describe, parse_json, read_text
from grounding.prompt import GroundedPrompt

__all__ = ["FORMATS", "Format", "load", "recognise"]

Format = Literal["document", "short", "gligen", "coco", "labelme", "lgd"]
FORMATS: tuple[Format, ...] = ("document", "short", "gligen", "coco", "labelme", "lgd")

_log = logging.getLogger(__name__)
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
    remarks: Remarks | None = None,
    strict: bool = False,
) -> GroundedPrompt:
    """Read a prompt document from any known format.

    Of annotations that others made, what makes no sense costs itself alone: it is left out, and
    said in a warning.

    Args:
        source: path of a file, its text, or parsed JSON.
        canvas: `(width, height)` that pixels refer to where the format does not say, and no picture
            beside the file does.
        units: of the coordinates; "auto" takes the format's own, or recognises them where only
            one reading makes sense.
        format: one of `FORMATS`, or "auto" to recognise it by content.
        image: which image of a COCO file, by id or file name.
        remarks: notes what is left out or clipped, in place of warnings; then regions of a
            document of ours can be left out too.
        strict: nothing is left out or clipped.

    Raises:
        PromptError: one line that names the file and the entry, and the cure; or nothing is left.
    """
    if units not in ("auto", "normalized", "pixel"):
        raise PromptError(f"units: expected auto, normalized or pixel, got {describe(units)}")
    if format not in ("auto", *FORMATS):
        raise PromptError(f"format: expected auto, {', '.join(FORMATS)}, got {describe(format)}")
    how = _Reading(canvas, units, format, image, Remarks() if remarks is None else remarks)
    how.lenient = remarks is not None
    if isinstance(source, (dict, list, tuple)):
        document = how.read(source)
        _tell(document, how, "the data", strict)
        return document
    inline = isinstance(source, str) and _is_text(source)
    name = "the text" if inline else str(source)
    how.path = None if inline else Path(str(source))
    try:
        document = how.read_text(str(source) if inline else read_text(source))
        _tell(document, how, name, strict)
    except PromptError as error:
        raise PromptError(f"{name}: {error}") from None
    return document


def recognise(data: object) -> Format:
    """Say which format parsed JSON is in.

    Raises:
        PromptError: none of them.
    """
    foreign = name_kind(data)
    if foreign in NOT_READ:
        raise PromptError(f"is {foreign}: {NOT_READ[foreign]}")
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


@dataclass
class _Reading:
    """How one source is read: the arguments of `load`."""

    canvas: Size | None
    units: Units
    format: Format | Literal["auto"]
    image: int | str | None
    remarks: Remarks
    lenient: bool = False
    path: Path | None = None  # of a file

    def read_text(self, text: str) -> GroundedPrompt:
        try:
            data = parse_json(text)
        except PromptError as error:
            if self.format == "lgd" or self.format == "auto" and is_lgd_text(text):
                return read_lgd_text(text, canvas=self.canvas, units=self.units)
            raise error from None
        return self.read(data)

    def read(self, data: object) -> GroundedPrompt:
        kind = recognise(data) if self.format == "auto" else self.format
        place: dict[str, Any] = {"canvas": self.canvas, "units": self.units}
        if kind == "short" and isinstance(data, (list, tuple, Mapping)):
            return read_short(data, **place)
        if not isinstance(data, Mapping):
            raise PromptError(f"expected an object for the format {kind}, got {describe(data)}")
        if kind == "document":
            if self.units == "pixel":
                raise PromptError(
                    "a full document is normalised; divide its boxes by the canvas size"
                )
            return read_document(data, self.remarks if self.lenient else None)
        if kind == "coco":
            beside = self._sizes(data.get("images"))
            given = {"remarks": self.remarks, "read_size": beside}
            return read_coco(data, **place, image=self.image, **given)
        if kind == "labelme":
            beside = self._sizes([{"file_name": data.get("imagePath")}])
            return read_labelme(data, **place, remarks=self.remarks, read_size=beside)
        return read_lgd(data, **place) if kind == "lgd" else read_gligen(data, **place)

    def _sizes(self, images: object) -> Callable[[str], Size | None]:
        """Who reads the size of a picture that lies beside the file.

        Args:
            images: that the file lists, as COCO does.
        """
        path = self.path

        def read_size(name: str) -> Size | None:
            from grounding.picture_file import read_picture_size

            try:
                listed = images if isinstance(images, list) else ()
                file = None if path is None else coco_finder(path, listed).search(name)
                return None if file is None else read_picture_size(file)
            except PromptError:  # it cannot be told; what needs it says so
                return None

        return read_size


def _tell(document: GroundedPrompt, how: _Reading, name: str, strict: bool) -> None:
    """Say what was left out, if nobody else does.

    Raises:
        PromptError: nothing is left, or anything is left out of what is read strictly.
    """
    remarks = how.remarks
    told = [detail or reason for reason, detail in (*remarks.lost, *remarks.changed)]
    if how.lenient or not told:
        return
    if not document.regions and not document.prompt or strict and len(told) == 1:
        raise PromptError(told[0])
    if strict:
        raise PromptError(f"{told[0]}; and {len(told) - 1} more (--strict)")
    for line in remarks.lines():
        _log.warning("%s: %s", name, line)


def _is_text(source: str) -> bool:
    return "\n" in source or source.lstrip()[:1] in ("{", "[") or not source.strip()


def _is_boxes(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(
        isinstance(item, (list, tuple, int, float)) for item in value
    )
