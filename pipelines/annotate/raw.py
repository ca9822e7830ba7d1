"""Raw pictures: a folder's files, and the captions that come with them.

Captions of PICTURE.jpg are the lines of PICTURE.txt, or "caption", "captions" or "prompt" of
PICTURE.json beside it. A file of captions is COCO's, or an object of them by file name.
"""

import hashlib
import io
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from grounding.drops import Dropped, Drops
from grounding.errors import PromptError
from grounding.find_file import FileFinder
from grounding.formats.annotation import identify, index_by_id
from grounding.formats.fields import as_list, as_object, as_text, needed
from grounding.jsonfile import parse_json, read_text
from grounding.llava.records import MARK
from grounding.picture_file import PICTURE_SUFFIXES, open_picture
from grounding.picture_folder import list_picture_files
from grounding.region import MAX_SIDE
from seem.data_file import read_json

__all__ = ["SAME", "Raw", "count_unusable", "list_pictures", "read_captions"]

MOST_CAPTIONS = 16  # of a picture; COCO has five
LONGEST_CAPTION = 2000  # characters
UNREADABLE, SAME = "a picture that cannot be read", "the same picture as another"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A picture that nobody has annotated.

    Attributes:
        name: Its path in the folder, with slashes.
        path: Where it is.
        captions: What is said of it already.
        problem: Why its captions cannot be read; None: they can.
        refused: Why it is not read at all, as far as that is known; None: it is.
    """

    name: str
    path: Path
    captions: tuple[str, ...] = ()
    problem: str | None = None
    refused: str | None = None

    def digest(self) -> str:
        """SHA-256 of the picture and its captions.

        Raises:
            OSError: it cannot be read.
        """
        whole = hashlib.sha256(self.path.read_bytes())
        for caption in (*self.captions, self.problem or ""):
            whole.update(f"\0{caption}".encode())
        return whole.hexdigest()

    def open(self) -> tuple[bytes, Image.Image]:
        """Open it: its file's bytes, and the picture in them.

        Raises:
            Dropped: it cannot be used.
        """
        if self.refused is not None:
            raise Dropped(self.refused)
        if self.problem is not None:
            raise Dropped("captions that cannot be read", self.problem)
        try:
            data = self.path.read_bytes()
            picture = open_picture(io.BytesIO(data))
        except OSError as error:
            raise Dropped(UNREADABLE, (error.strerror or str(error)).lower()) from None
        except PromptError as error:
            raise Dropped(UNREADABLE, str(error).partition(": ")[2]) from None
        if max(picture.size) > MAX_SIDE:
            raise Dropped(f"a picture of more than {MAX_SIDE} pixels a side")
        return data, picture

    def is_in(self, shard: tuple[int, int]) -> bool:
        """Whether it belongs to a shard, `(index, count)`; told by its name alone."""
        number = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:8], "big")
        return number % shard[1] == shard[0]


def list_pictures(
    folder: Path,
    captions: Mapping[str, tuple[str, ...]] | None = None,
    *,
    without: Path | None = None,
    drops: Drops | None = None,
) -> list[Raw]:
    """List a folder's pictures, and those of folders in it, by name.

    Args:
        folder: Of pictures.
        captions: Of `read_captions`; None: those beside the pictures.
        without: A folder whose pictures are left out, where results go.
        drops: Counts captions of no picture; None: they are told.

    Raises:
        PromptError: there are no pictures.
    """
    if not folder.is_dir():
        raise PromptError(f"{folder}: expected a folder of pictures; there is none")
    found = list_picture_files(folder)
    refused = dict(found.passed_over)
    files = [*found.files, *refused]
    if without is not None:
        results = Path(os.path.realpath(without))  # Path.resolve raises at a link to itself
        files = [file for file in files if results not in Path(os.path.realpath(file)).parents]
    pictures, said_of = [], {} if captions is None else _placed(folder, captions, drops)
    for file in files:
        name = file.relative_to(folder).as_posix()
        try:
            name.encode()
        except UnicodeEncodeError:
            raise PromptError(f"{folder}: the file name {name!r:.80} is not UTF-8") from None
        if file in refused:
            pictures.append(Raw(name=name, path=file, refused=refused[file]))
            continue
        if captions is None:
            said, problem = _beside(file)
        else:
            said, problem = said_of.get(os.path.realpath(file), ()), None
        pictures.append(Raw(name=name, path=file, captions=said, problem=problem))
    if all(raw.refused for raw in pictures):
        raise PromptError(
            f"{folder}: expected pictures ({', '.join(PICTURE_SUFFIXES)}); found none"
        )
    return sorted(pictures, key=lambda raw: raw.name)


def count_unusable(raws: Iterable[Raw], drops: Drops) -> None:
    """Open pictures, and count those that annotating would drop before it looks at them."""
    seen: dict[bytes, str] = {}
    for raw in tqdm(raws, unit="picture", desc="checking", disable=None):
        try:
            data, _ = raw.open()
            first = seen.setdefault(hashlib.sha256(data).digest(), raw.name)
            if first != raw.name:
                raise Dropped(SAME, first)
        except Dropped as dropped:
            drops.picture(raw.name, dropped)


def _placed(
    folder: Path, captions: Mapping[str, tuple[str, ...]], drops: Drops | None
) -> dict[str, tuple[str, ...]]:
    """Captions by where their pictures lie, whoever named those; of no picture, they are told."""
    find, placed, lost = FileFinder([folder], captions), dict[str, tuple[str, ...]](), list[str]()
    for name, texts in captions.items():
        try:
            file = find(name)
        except PromptError:
            lost.append(name)
        else:
            placed[os.path.realpath(file)] = texts
    if drops is not None:
        for name in lost:
            drops.picture(name, Dropped(f"a picture with captions that {folder} lacks"))
    elif lost:
        log.warning("captions of %d files that %s lacks (such as %s)", len(lost), folder, lost[0])
    return placed


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """Read captions by file name.

    Args:
        path: COCO's captions, or `{"a.jpg": "a llama", "b.jpg": ["two dogs", "dogs"]}`.

    Raises:
        PromptError: it is neither.
    """
    data = read_json(path)
    try:
        if "annotations" not in data:
            return {name: _texts(value, name) for name, value in data.items()}
        images = index_by_id(data, "images")
        found: dict[str, list[str]] = {}
        for place, value in enumerate(as_list(data["annotations"], "annotations")):
            where = f"annotations[{place}]"
            entry = as_object(value, where)
            image = images.get(identify(needed(entry, "image_id", where), f"{where}.image_id"))
            if image is None:
                raise PromptError(f"{where}.image_id: there is no such image")
            name = as_text(needed(image, "file_name", where), where)
            found.setdefault(name, []).extend(_texts(needed(entry, "caption", where), where))
        return {name: tuple(texts[:MOST_CAPTIONS]) for name, texts in found.items()}
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None


def _beside(picture: Path) -> tuple[tuple[str, ...], str | None]:
    """Captions beside a picture, and why they cannot be read."""
    try:
        path = picture.with_suffix(".txt")
        if path.is_file():
            return _texts(read_text(path).splitlines(), "the file"), None
        path = picture.with_suffix(".json")
        if path.is_file():
            data = as_object(parse_json(read_text(path)), "the file")
            said = next((data[k] for k in ("captions", "caption", "prompt") if data.get(k)), [])
            return _texts(said, "its captions"), None
    except PromptError as error:
        return (), str(error)
    return (), None


def _texts(value: object, where: str) -> tuple[str, ...]:
    texts = value if isinstance(value, (list, tuple)) else [value]
    plain = (as_text(text, where).replace(MARK, " ") for text in texts)
    folded = (" ".join(text.split()) for text in plain)
    return tuple(text[:LONGEST_CAPTION] for text in folded if text)[:MOST_CAPTIONS]
