"""Pairs of pictures and captions, as Winoground has them: JSON lines.

    {"image_0": "pink.jpg", "image_1": "blue.jpg",
     "caption_0": "pink on top of blue", "caption_1": "blue on top of pink"}

The pictures lie beside the file or in its folder "images"; Winoground's names lack their ".png".
Other fields are not read, but for "id".
"""

from collections.abc import Mapping
from functools import partial
from itertools import islice
from pathlib import Path

from grounding.errors import PromptError
from grounding.find_file import FileFinder
from grounding.formats.fields import as_text, needed
from grounding.jsonfile import describe, read_json_lines
from grounding.llava.evaluation.pairs import Pair
from grounding.llava.evaluation.subject import Subject
from grounding.picture_file import open_picture

__all__ = ["read_pairs"]


def read_pairs(path: Path, *, limit: int | None = None) -> tuple[list[Pair], list[Subject]]:
    """Read pairs and their pictures.

    Args:
        path: Of the JSON lines.
        limit: Pairs at most.

    Raises:
        PromptError: The file is none of these, or a picture is not there.
    """
    pairs, subjects = [], dict[str, Subject]()
    for place, value in islice(read_json_lines(path), limit):
        try:
            if isinstance(value, PromptError):
                raise value
            pair = _pair(value, place)
            for name in pair.images:
                picture = partial(open_picture, _found(path.parent, name))
                subjects[name] = Subject(name=name, picture=picture, things=())
        except PromptError as error:
            raise PromptError(f"{path}: line {place}: {error}") from None
        pairs.append(pair)
    return pairs, list(subjects.values())


def _pair(entry: object, place: int) -> Pair:
    if not isinstance(entry, Mapping):
        raise PromptError(f"expected an object, got {describe(entry)}")
    images, captions = (
        (as_text(needed(entry, f"{key}_0", ""), key), as_text(needed(entry, f"{key}_1", ""), key))
        for key in ("image", "caption")
    )
    return Pair(name=str(entry.get("id", place)), images=images, captions=captions)


def _found(folder: Path, name: str) -> Path:
    """Where a picture lies, with the ending that its name may lack."""
    find = FileFinder([folder / "images", folder])
    return find.search(name) or find.search(f"{name}.png") or find(name)
