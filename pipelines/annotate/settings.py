"""How pictures are annotated: all that a result depends on, but for the picture."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grounding.errors import PromptError
from grounding.formats.fields import as_list, as_object, as_text
from grounding.jsonfile import parse_json, read_text

__all__ = ["Names", "Settings", "read_names"]

MIN_AREA = 0.01  # of the picture; GLIGEN, arXiv 2301.07093, section 4
MOST_REGIONS = 30  # GLIGEN's tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Names:
    """What is looked for.

    Attributes:
        things: Names of what can be counted: "llama".
        stuff: (name, how a caption says it) of what cannot: ("beach", "on a beach").
        attributes: Words that may stand before a name: "lava".
    """

    things: tuple[str, ...]
    stuff: tuple[tuple[str, str], ...] = ()
    attributes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How pictures are annotated.

    Attributes:
        segmenter: A SEEM, as `lavallama segment --model` takes it.
        embedder: Tells what a region is, as `lavallama classify --model`; "none": the segmenter
            does; None: the embedded one for stickers, none for photographs and other segmenters.
        model: A chat model that writes captions, as `lavallama chat --model`; None: none does.
        served_model: What an endpoint calls it.
        key_variable: Environment variable that holds the endpoint's key.
        names: What is looked for; None: the segmenter's own vocabulary.
        min_score: Least score of a region.
        min_area: Least share of the picture that a region's box has.
        max_regions: Of a picture.
        overlap: IoU of two masks from which they are one thing.
        agreement: Least IoU of a mask with that of its own box.
        device: "auto", "cpu", "cuda", ...
        offline: Never use the network for files.
    """

    segmenter: str = "embedded"
    embedder: str | None = None
    model: str | None = None
    served_model: str | None = None
    key_variable: str | None = None
    names: Names | None = None
    min_score: float = 0.5
    min_area: float = MIN_AREA
    max_regions: int = MOST_REGIONS
    overlap: float = 0.5
    agreement: float = 0.5
    device: str = "auto"
    offline: bool = False

    def identity(self) -> dict[str, Any]:
        """What results depend on, as JSON has it."""
        content = dataclasses.asdict(self)
        for name in ("device", "offline", "key_variable"):
            del content[name]
        return content


def read_names(path: Path) -> Names:
    """Read a vocabulary.

    Args:
        path: A text file with a name a line, or JSON with "things", "stuff" and "attributes"; stuff
            may be an object that says how captions have it: `{"beach": "on a beach"}`.

    Raises:
        PromptError: it is none.
    """
    try:
        text = read_text(path)
        if path.suffix != ".json":
            return Names(things=_listed(text.splitlines(), "the file"))
        data = as_object(parse_json(text), "the file")
        if unknown := sorted(set(data) - {"things", "stuff", "attributes"}):
            raise PromptError(f"expected things, stuff and attributes; got {', '.join(unknown)}")
        return Names(
            things=_listed(data.get("things", []), "things"),
            stuff=_stuff(data.get("stuff", [])),
            attributes=_listed(data.get("attributes", []), "attributes", least=0),
        )
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None


def behind(name: str) -> str:
    """How a caption says stuff, where nobody says how: "with sky in the background"."""
    return f"with {name} in the background"


def _listed(value: object, where: str, *, least: int = 1) -> tuple[str, ...]:
    names = [" ".join(as_text(item, where).split()) for item in as_list(value, where)]
    names = list(dict.fromkeys(filter(None, names)))
    if len(names) < least:
        raise PromptError(f"{where}: expected at least {least} name; got none")
    return tuple(names)


def _stuff(value: object) -> tuple[tuple[str, str], ...]:
    if isinstance(value, Mapping):
        return tuple((str(name), as_text(said, f"stuff.{name}")) for name, said in value.items())
    return tuple((name, behind(name)) for name in _listed(value, "stuff", least=0))
