"""LLM-grounded Diffusion layouts: `[('a llama', [x, y, width, height]), ...]`, pixels of 512x512.

Two forms: the text that a language model answers (`Objects: [...]`, `Background prompt: ...`,
`Negative prompt: ...`), and the parsed JSON with `gen_boxes`, `bg_prompt`, `extra_neg_prompt`
(Lian et al., arXiv 2305.13655). Model text is parsed by a small grammar, never evaluated.
"""

import re
from collections.abc import Mapping, Sequence

from grounding.errors import PromptError
from grounding.formats.fields import as_list, as_numbers, as_object, as_text
from grounding.formats.units import Units, box_from, box_to_xywh_pixels
from grounding.formats.written import Written, unsaid, written
from grounding.geometry import Size
from grounding.jsonfile import describe
from grounding.prompt import GroundedPrompt

__all__ = [
    "LGD_CANVAS",
    "is_lgd_text",
    "parse_lgd_text",
    "read_lgd",
    "read_lgd_text",
    "write_lgd",
    "write_lgd_text",
]

LGD_CANVAS = (512, 512)  # the canvas that LLM-grounded Diffusion tells its language model
MAX_TEXT = 2**20  # characters

_HEADING = re.compile(
    r"^[ \t]*(caption|objects|background prompt|negative prompt)[ \t]*:[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_NUMBERS = re.compile(r"\s*,\s*[\[(]([^\[\]()'\"]{0,400})[\])]\s*,?\s*")
_NUMBER = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,3})?")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def is_lgd_text(text: str) -> bool:
    """Whether text that is not JSON looks like a layout: headings, or a list of pairs."""
    return bool(re.match(r"\s*\[\s*[(\[]\s*['\"]", text)) or any(
        match.group(1).lower() == "objects" for match in _HEADING.finditer(text[:MAX_TEXT])
    )


def read_lgd(
    data: Mapping[str, object], *, canvas: Size | None = None, units: Units = "auto"
) -> GroundedPrompt:
    """Read the parsed form: `gen_boxes` is a list of pairs or of `{"name", "bounding_box"}`.

    Args:
        data: parsed JSON.
        canvas: what the pixels refer to, if `units` is "pixel"; otherwise 512x512.
        units: "normalized" if the boxes are fractions.

    Raises:
        PromptError: one line that names the entry.
    """
    pairs: list[tuple[str, str, object]] = []
    for index, item in enumerate(as_list(data.get("gen_boxes", []), "gen_boxes")):
        where = f"gen_boxes[{index}]"
        if isinstance(item, Mapping):
            entry = as_object(item, where)
            name, box = entry.get("name"), entry.get("bounding_box")
        else:
            pair = as_list(item, where)
            if len(pair) != 2:
                raise PromptError(f"{where}: expected [phrase, [x, y, width, height]]")
            name, box = pair
        pairs.append((where, as_text(name, f"{where}: phrase"), box))
    words = {
        "prompt": data.get("prompt"),
        "background": data.get("bg_prompt"),
        "negative_prompt": data.get("extra_neg_prompt", data.get("neg_prompt")),
    }
    texts = {key: as_text(value, key) for key, value in words.items() if value is not None}
    return _document(pairs, texts, canvas, units)


def read_lgd_text(
    text: str, *, canvas: Size | None = None, units: Units = "auto"
) -> GroundedPrompt:
    """Read the text form. Arguments and errors as for `read_lgd`."""
    pairs, texts = parse_lgd_text(text)
    return _document(pairs, texts, canvas, units)


def parse_lgd_text(text: str) -> tuple[list[tuple[str, str, object]], dict[str, str]]:
    """Read the text form as it is written, whatever its boxes mean.

    Returns:
        (where it stands, phrase, [x, y, width, height]) of each object, and `prompt`,
        `background` and `negative_prompt`.

    Raises:
        PromptError: one line that names the entry.
    """
    if len(text) > MAX_TEXT:
        raise PromptError(f"a layout of more than {MAX_TEXT} characters; split it")
    headings = list(_HEADING.finditer(text))
    parts = {"objects": text[: headings[0].start()] if headings else text}
    if headings and not parts["objects"].strip():
        parts = {}
    for heading, following in zip(headings, [*headings[1:], None], strict=False):
        end = following.start() if following else len(text)
        parts.setdefault(heading.group(1).lower(), text[heading.end() : end])
    words = {
        "prompt": parts.get("caption", ""),
        "background": parts.get("background prompt", ""),
        "negative_prompt": parts.get("negative prompt", ""),
    }
    texts = {key: value.strip() for key, value in words.items()}
    if texts["negative_prompt"].lower() == "none":  # what the language model is taught to answer
        texts["negative_prompt"] = ""
    if "objects" not in parts:
        raise PromptError("Objects: is missing; expected [('phrase', [x, y, width, height]), ...]")
    return _parse_pairs(parts["objects"]), texts


def write_lgd(prompt: GroundedPrompt) -> Written:
    """Write the parsed form; boxes become xywh pixels of 512x512, regions without are dropped."""
    pairs, dropped = _pairs(prompt)
    content: dict[str, object] = {
        "prompt": prompt.prompt,
        "gen_boxes": pairs,
        "bg_prompt": prompt.background,
        "extra_neg_prompt": prompt.negative_prompt,
    }
    return written(content, dropped, "LLM-grounded Diffusion")


def write_lgd_text(prompt: GroundedPrompt) -> Written:
    """Write the text form."""
    pairs, dropped = _pairs(prompt)
    items = ", ".join(f"({_quote(phrase)}, {box})" for phrase, box in pairs)
    lines = [f"Objects: [{items}]"]
    for name, value in (
        ("Background prompt", prompt.background),
        ("Negative prompt", prompt.negative_prompt),
        ("Caption", prompt.prompt),
    ):
        line = " ".join(value.split())
        if line != value:
            dropped.append(f"white space in the {name.lower()}")
        lines += [f"{name}: {line}"] if line else []
    return written("\n".join(lines) + "\n", dropped, "LLM-grounded Diffusion's text")


def _pairs(prompt: GroundedPrompt) -> tuple[list[tuple[str, list[float]]], list[str]]:
    dropped = unsaid(prompt, ("prompt", "background", "negative_prompt"), ("phrase", "box"))
    if "canvas" in dropped and prompt.canvas and prompt.canvas.size == LGD_CANVAS:
        dropped.remove("canvas")
    pairs: list[tuple[str, list[float]]] = []
    for index, region in enumerate(prompt.regions):
        if region.box is None:
            dropped.append(f"regions[{index}], which has no box")
        else:
            pairs.append((region.phrase, box_to_xywh_pixels(region.box, LGD_CANVAS)))
    return pairs, dropped


def _document(
    pairs: Sequence[tuple[str, str, object]],
    texts: Mapping[str, str],
    canvas: Size | None,
    units: Units,
) -> GroundedPrompt:
    size = canvas if units == "pixel" and canvas else LGD_CANVAS
    kind: Units = "normalized" if units == "normalized" else "pixel"
    regions: list[dict[str, object]] = []
    for where, phrase, value in pairs:
        x, y, width, height = as_numbers(value, 4, where)
        box = box_from((x, y, width, height), kind, size, where, "xywh")
        regions.append({"phrase": phrase, "box": box})
    document: dict[str, object] = {**texts, "regions": regions}
    if kind == "pixel":
        document["canvas"] = {"width": size[0], "height": size[1]}
    return GroundedPrompt.model_validate(document)


def _parse_pairs(text: str) -> list[tuple[str, str, object]]:
    """Parse `[('phrase', [n, n, n, n]), ...]`; brackets may be round or square, commas trail."""
    body = text.strip()
    if not body.startswith("["):
        raise PromptError(
            f"Objects: expected [('phrase', [x, y, width, height]), ...], got {describe(body[:60])}"
        )
    place, pairs = _skip(body, 1), []
    while not body.startswith("]", place):
        where = f"objects[{len(pairs)}]"
        if place >= len(body):
            raise PromptError(f"{where}: the list is not closed; add ]")
        if body[place] not in "([":
            raise _unexpected(where, body, place, "a pair ('phrase', [x, y, width, height])")
        quoted = _QUOTED.match(body, _skip(body, place + 1))
        if not quoted:
            raise _unexpected(where, body, place, "a phrase in quotes")
        numbers = _NUMBERS.match(body, quoted.end())
        if not numbers or not body.startswith((")", "]"), numbers.end()):
            raise _unexpected(where, body, quoted.end(), "a comma and [x, y, width, height]")
        phrase = quoted.group(1) if quoted.group(1) is not None else quoted.group(2)
        plain = re.sub(
            r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(1)), phrase, flags=re.DOTALL
        )
        pairs.append((where, plain, _numbers(numbers.group(1), where)))
        place = _skip(body, numbers.end() + 1)
        if body.startswith(",", place):
            place = _skip(body, place + 1)
        elif place < len(body) and not body.startswith("]", place):
            raise _unexpected(where, body, place, "a comma or ] after it")
    return pairs


def _numbers(text: str, where: str) -> list[float]:
    items = [item.strip() for item in text.split(",")]
    for item in items:
        if not _NUMBER.fullmatch(item):
            raise PromptError(f"{where}: expected a number, got {describe(item)}")
    return [float(item) for item in items]


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _unexpected(where: str, text: str, place: int, wanted: str) -> PromptError:
    return PromptError(f"{where}: expected {wanted}, got {describe(text[place : place + 40])}")


def _quote(text: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(plain, escaped)
    return f"'{text}'"
