"""The short forms that people type: a list of `{"phrase", "box"}`, or a `{"phrase": box}` mapping.

Boxes are xyxy. A mapping may give one phrase a list of boxes; an entry of a list may carry any
other field of a region that has no coordinates.
"""

from collections.abc import Mapping, Sequence

from grounding.errors import PromptError
from grounding.formats.fields import as_list, as_numbers, as_object, as_text, needed
from grounding.formats.units import Units, boxes_from_unknown
from grounding.formats.written import Written, unsaid, written
from grounding.geometry import Box, Size
from grounding.jsonfile import describe
from grounding.prompt import Canvas, GroundedPrompt

__all__ = ["read_short", "write_short"]

_PLAIN = ("id", "reference", "audio", "attributes", "z", "score")
_GEOMETRY = ("points", "strokes", "polygon", "mask", "keypoints")


def read_short(
    data: Mapping[str, object] | Sequence[object],
    *,
    canvas: Size | None = None,
    units: Units = "auto",
) -> GroundedPrompt:
    """Read either short form.

    Args:
        data: parsed JSON.
        canvas: `(width, height)` that pixels refer to; becomes the document's canvas.
        units: how to read the boxes.

    Raises:
        PromptError: one line that names the entry.
    """
    entries = _mapping_entries(data) if isinstance(data, Mapping) else _list_entries(data)
    boxes = boxes_from_unknown([(where, box) for where, box, _ in entries], units, canvas)
    regions = [{**extra, "box": box} for (_, _, extra), box in zip(entries, boxes, strict=True)]
    document: dict[str, object] = {"regions": regions}
    if canvas is not None:
        document["canvas"] = Canvas(width=canvas[0], height=canvas[1])
    try:
        return GroundedPrompt.model_validate(document)
    except PromptError as error:
        message = str(error)
        if not isinstance(data, Mapping):
            message = message.removeprefix("regions")
        raise PromptError(message) from None


def write_short(prompt: GroundedPrompt) -> Written:
    """Write a list of `{"phrase", "box", ...}`, normalised; regions without a box are dropped."""
    entries: list[dict[str, object]] = []
    dropped = unsaid(prompt, regions=("phrase", "box", *_PLAIN))
    document = prompt.to_dict().get("regions", [])
    for index, (region, plain) in enumerate(zip(prompt.regions, document, strict=True)):
        if region.box is None:
            dropped.append(f"regions[{index}], which has no box")
            continue
        entry: dict[str, object] = {"phrase": region.phrase, "box": list(region.box)}
        entry |= {key: plain[key] for key in _PLAIN if key in plain}
        entries.append(entry)
    return written(entries, dropped, "the short form")


def _list_entries(data: Sequence[object]) -> list[tuple[str, Box, dict[str, object]]]:
    entries: list[tuple[str, Box, dict[str, object]]] = []
    for index, value in enumerate(data):
        where = f"[{index}]"
        entry = dict(as_object(value, where))
        for key in _GEOMETRY:
            if key in entry:
                raise PromptError(
                    f"{where}.{key}: the short form holds boxes only; write a full document "
                    '{"regions": [...]}'
                )
        if "bbox" in entry and "box" not in entry:
            raise PromptError(
                f'{where}.bbox: unknown field; name it "box" and write [x0, y0, x1, y1]'
            )
        # What has an id can be described elsewhere, by a reference picture for one.
        said = entry.get("phrase", "") if "id" in entry else needed(entry, "phrase", where)
        phrase = as_text(said, f"{where}.phrase")
        box = _box(needed(entry, "box", where), f"{where}.box")
        extra = {key: value for key, value in entry.items() if key != "box"}
        entries.append((f"{where}.box", box, extra | {"phrase": phrase}))
    return entries


def _mapping_entries(data: Mapping[str, object]) -> list[tuple[str, Box, dict[str, object]]]:
    entries: list[tuple[str, Box, dict[str, object]]] = []
    for phrase, value in data.items():
        where = describe(phrase)
        boxes = as_list(value, where)
        if boxes and all(isinstance(item, (list, tuple)) for item in boxes):
            for index, box in enumerate(boxes):
                place = f"{where}[{index}]"
                entries.append((place, _box(box, place), {"phrase": phrase}))
        else:
            entries.append((where, _box(value, where), {"phrase": phrase}))
    return entries


def _box(value: object, where: str) -> Box:
    x0, y0, x1, y1 = as_numbers(value, 4, where)
    return x0, y0, x1, y1
