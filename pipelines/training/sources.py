"""Where pictures come from: each with a prompt document, whatever the data set's form.

| --data                       | pictures and documents                                            |
|------------------------------|-------------------------------------------------------------------|
| stickers                     | the sticker world, rendered                                       |
| FILE.json of COCO instances  | its images, beside the file; captions of --captions               |
| FILE.json of one document    | LabelMe's or ours; its picture in it, named in it, or of its name |
| FOLDER                       | each picture with a document of its name, in any of our formats;  |
|                              | LabelMe's files that hold their pictures                          |
| FILE.jsonl                   | a document a line, `image` relative to the file                   |
| SHARD.tar, SHARD-{000..9}.tar| webdataset: a picture with json of the same name            |
"""

import base64
import importlib
import io
import tarfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image

from gligen.evaluation.coco_layouts import coco_captions
from grounding.document_paths import place_beside
from grounding.drops import Dropped, Drops
from grounding.errors import LavallamaError, PromptError
from grounding.find_file import FileFinder, coco_finder
from grounding.formats import load
from grounding.formats.annotation import (
    Entry,
    Id,
    find_category,
    group_by_image,
    image_size,
    index_by_id,
    is_crowd,
    read_annotation,
)
from grounding.formats.fields import as_object, as_text, needed
from grounding.formats.foreign import COCO_INSTANCES, DOCUMENT, LABELME, check_kind, name_kind
from grounding.formats.remarks import Remarks
from grounding.geometry import Size
from grounding.jsonfile import describe, parse_json, read_json_lines, read_text
from grounding.picture_file import PICTURE_SUFFIXES, read_picture_size
from grounding.picture_folder import list_picture_files
from grounding.prompt import Canvas, GroundedPrompt, Region
from seem.data_file import MAX_BYTES, read_json

__all__ = ["STICKERS", "Found", "open_source"]

STICKERS = "stickers"
DOCUMENTS = (".json", ".txt")
ATTRIBUTES = "attributes"  # a crowd is told from one thing by them


@dataclass(frozen=True, kw_only=True)
class Found:
    """A picture of a data set.

    Attributes:
        name: For reports.
        document: What is said of it, or who finds out; may raise `Dropped` or `PromptError`.
        read: Returns the bytes of the picture's file; may raise `OSError` or `Dropped`.
        remarks: On regions that are left out or changed, once the document was read.
    """

    name: str
    document: Callable[[], GroundedPrompt]
    read: Callable[[], bytes]
    remarks: Remarks = field(default_factory=Remarks)


def open_source(
    data: str,
    *,
    captions: Path | None = None,
    scenes: int = 0,
    folder: Path,
    joints: bool = False,
    outlines: bool = False,
    drops: Drops | None = None,
) -> Iterator[Found]:
    """Open a data set; see the table above.

    Args:
        data: "stickers", or a path; a pattern for several shards.
        captions: A captions file of COCO, for an instances file.
        scenes: Of the sticker world.
        folder: Where its scenes are kept.
        joints: Whether keypoints are read, of an instances file.
        outlines: Whether outlines and masks are, and crowds with them.
        drops: Counts annotations of no picture.

    Raises:
        PromptError: no such data, or not in any of these forms.
    """
    path = Path(data)
    if captions is not None and path.suffix != ".json":
        raise PromptError(f"--captions belongs to a COCO instances file; --data is {data}")
    if data == STICKERS:
        return _stickers(folder, scenes)
    if data.endswith(".tar"):
        return _shards(data)
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise PromptError(f"{data}: no such file or folder; expected {STICKERS!r} or a data set")
    if path.suffix == ".jsonl":
        return _lines(path)
    if path.suffix == ".json":
        content = _parsed(path)
        if name_kind(content) in (LABELME, DOCUMENT) and captions is None:
            return _one(path, content)
        parts = (
            *(("keypoints",) if joints else ()),
            *(("outline", ATTRIBUTES) if outlines else ()),
        )
        return _coco(path, content, captions, parts, Drops() if drops is None else drops)
    raise PromptError(
        f"{data}: expected {STICKERS!r}, a COCO .json, a folder, a .jsonl or a .tar of shards"
    )


def _parsed(path: Path) -> object:
    """What a JSON file holds.

    Raises:
        PromptError: naming the file.
    """
    try:
        return parse_json(read_text(path, MAX_BYTES))
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None


def sticker_document(caption: str, phrases: Any, boxes: Any) -> GroundedPrompt:
    """The document of a rendered scene."""
    regions = [Region(phrase=p, box=box) for p, box in zip(phrases, boxes, strict=True)]
    return GroundedPrompt(prompt=caption, regions=tuple(regions))


def _stickers(folder: Path, count: int) -> Iterator[Found]:
    from gligen.train.scenes import rendered

    scenes = rendered(folder, "small", count)
    for number, record in enumerate(scenes.records):

        def document(record=record) -> GroundedPrompt:
            return sticker_document(record.caption, record.phrases, record.boxes)

        def read(number: int = number) -> bytes:
            file = io.BytesIO()
            Image.fromarray(scenes.images[number]).save(file, "BMP")  # the quickest there is
            return file.getvalue()

        yield Found(name=f"scene {number}", document=document, read=read)


def _folder(folder: Path) -> Iterator[Found]:
    listed = list_picture_files(folder)
    alone = list(_alone(folder, listed.files))
    if not listed.files and not alone:
        raise PromptError(
            f"{folder}: expected pictures ({', '.join(PICTURE_SUFFIXES)}); found none"
        )
    for file, reason in listed.passed_over:
        fail = _failing(Dropped(reason))
        yield Found(name=str(file.relative_to(folder)), document=fail, read=fail)
    beside = _Beside(folder, listed.files)
    for file in listed.files:
        remarks = Remarks()
        yield Found(
            name=str(file.relative_to(folder)),
            document=lambda file=file, remarks=remarks: beside.document(file, remarks),
            read=file.read_bytes,
            remarks=remarks,
        )
    yield from alone


def _alone(folder: Path, pictures: Sequence[Path]) -> Iterator[Found]:
    """Documents without a picture of their name: LabelMe's may hold theirs, in base64."""

    def plain(path: Path) -> str:
        return unicodedata.normalize("NFC", str(path.with_suffix(""))).casefold()

    named = set(map(plain, pictures))
    for file in sorted(folder.rglob("*.json")):
        if plain(file) in named:
            continue
        try:
            data = parse_json(read_text(file))
        except PromptError:
            continue
        kind, remarks = name_kind(data), Remarks()
        if kind not in (LABELME, DOCUMENT):
            continue
        name = str(file.relative_to(folder))
        if _holds_picture(data):
            yield _holding(file, name, remarks)
        else:
            fail = _failing(Dropped("a document without a picture of its name"))
            yield Found(name=name, document=fail, read=fail)


def _one(file: Path, data: object) -> Iterator[Found]:
    """A document alone: its picture is in it, or named in it, or has its name."""
    if _holds_picture(data):
        yield _holding(file, file.name, Remarks())
        return
    remarks, find = Remarks(), FileFinder([file.parent])
    document = load(file, remarks=remarks)
    names = [document.image] if document.image else []
    names += [f"{file.stem}{suffix}" for suffix in PICTURE_SUFFIXES]
    picture = next(filter(None, map(find.search, names)), None)
    if picture is None:
        raise PromptError(f"{file}: its picture ({names[0]}) does not lie beside it; put it there")
    document = place_beside(document, file.parent)
    yield Found(name=file.name, document=lambda: document, read=picture.read_bytes, remarks=remarks)


def _holds_picture(data: object) -> bool:
    return isinstance(data, Mapping) and isinstance(data.get("imageData"), str)


def _holding(file: Path, name: str, remarks: Remarks) -> Found:
    return Found(
        name=name,
        document=lambda: _document_of(file, remarks),
        read=lambda: _picture_in(file),
        remarks=remarks,
    )


def _document_of(file: Path, remarks: Remarks) -> GroundedPrompt:
    """The document of a file of LabelMe's that holds its picture."""
    size = read_picture_size(io.BytesIO(_picture_in(file)))
    return load(file, canvas=size, remarks=remarks)


def _picture_in(file: Path) -> bytes:
    """The picture that a file of LabelMe's holds."""
    data = as_object(parse_json(read_text(file)), file.name)
    try:
        return base64.b64decode(as_text(data["imageData"], "imageData"))
    except ValueError:
        raise Dropped("a picture that cannot be read", "imageData: expected base64") from None


class _Beside:
    """Finds the document of a picture: the file of its name, however its letters are written.

    Args:
        folder: Of the pictures, and folders of them.
        pictures: All of them.
    """

    def __init__(self, folder: Path, pictures: Sequence[Path]) -> None:
        self.folder, self.find = folder, FileFinder([folder])
        self.named = {picture.with_suffix("") for picture in pictures}

    def document(self, picture: Path, remarks: Remarks) -> GroundedPrompt:
        """Read it."""
        size, name = read_picture_size(picture), picture.with_suffix("")
        for end in DOCUMENTS:
            path = self.find.search(str(picture.relative_to(self.folder).with_suffix(end)))
            # A.json belongs to a.png only if there is no A.png.
            owner = name if path is None else path.with_suffix("")
            if path is not None and (owner == name or owner not in self.named):
                return place_beside(load(path, canvas=size, remarks=remarks), picture.parent)
        raise Dropped("no document of the picture's name beside it")


def _lines(path: Path) -> Iterator[Found]:
    for number, value in read_json_lines(path):
        name, remarks = f"line {number}", Remarks()
        try:
            if isinstance(value, PromptError):
                raise Dropped("a line that is not JSON", str(value))
            if isinstance(value, list) and any(
                isinstance(o, Mapping) and "image" in o for o in value
            ):
                raise Dropped("several documents on a line", "write each on a line of its own")
            document = place_beside(_document(value, remarks), path.parent)
            if document.image is None:
                raise Dropped("a document that names no image")
        except Dropped as dropped:
            yield Found(name=name, document=_failing(dropped), read=_failing(dropped))
        else:
            read = Path(document.image).read_bytes
            yield Found(name=name, document=lambda d=document: d, read=read, remarks=remarks)


def _document(value: object, remarks: Remarks, size: Size | None = None) -> GroundedPrompt:
    """The document of parsed JSON.

    Raises:
        Dropped: it is none.
    """
    try:
        if not isinstance(value, dict | list):
            raise PromptError(f"expected a document {{...}}, got {describe(value)}")
        return load(value, canvas=size, remarks=remarks)
    except PromptError as error:
        raise Dropped("a document that makes no sense", str(error)) from None


def _failing(dropped: Dropped) -> Callable[[], Any]:
    def fail() -> Any:
        raise dropped

    return fail


def _shards(pattern: str) -> Iterator[Found]:
    try:
        webdataset: Any = importlib.import_module("webdataset")
    except ImportError:
        raise LavallamaError(
            'shards are read by webdataset, which is not installed; pip install -e ".[train]"'
        ) from None
    names = list(webdataset.shardlists.expand_urls(pattern))
    for name in names:
        if not Path(name).is_file():
            raise PromptError(f"{name}: no such shard; check the pattern {pattern}")
    samples = webdataset.WebDataset(names, shardshuffle=False, empty_check=False)
    for name, files in chain.from_iterable(map(_apart, _whole(samples, pattern))):
        found = [value for end, value in files.items() if f".{end}" in PICTURE_SUFFIXES]
        said = files.get("json")

        remarks = Remarks()

        def document(
            said: bytes | None = said, found: list[bytes] = found, remarks: Remarks = remarks
        ) -> GroundedPrompt:
            if said is None:
                raise Dropped("no document (json) beside the picture")
            size = read_picture_size(io.BytesIO(found[0])) if found else None
            return _document(parse_json(said.decode("utf-8-sig")), remarks, size)

        def read(found: list[bytes] = found) -> bytes:
            if not found:
                raise Dropped("no picture beside the document")
            return found[0]

        yield Found(name=name, document=document, read=read, remarks=remarks)


def _apart(sample: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples in what webdataset takes for one, with their files by ending.

    It cuts names at the first dot, and so takes 2024.05.01_a.jpg and 2024.05.02_b.jpg for files of
    2024. Beside 7.jpg, 7.seg.png belongs to 7, unless it has a document of its own.
    """
    parts: dict[str, dict[str, bytes]] = {}
    for name, value in sample.items():
        if not name.startswith("__"):
            stem, _, ending = name.rpartition(".")
            parts.setdefault(stem, {})[ending] = value
    for stem, files in parts.items():
        if not stem or "" not in parts or "json" in files:
            yield (f"{sample['__key__']}.{stem}" if stem else sample["__key__"]), files


def _whole(samples: Any, pattern: str) -> Iterator[dict[str, Any]]:
    """The samples of shards, none of which is cut off."""
    try:
        yield from samples
    except (tarfile.TarError, EOFError) as error:
        raise PromptError(f"{pattern}: a shard is no whole tar file ({error})") from None
    except ValueError as error:  # two files of one name
        raise PromptError(f"{pattern}: {error.args[0]}") from None


def _coco(
    path: Path, given: object, captions: Path | None, parts: Sequence[str], drops: Drops
) -> Iterator[Found]:
    remarks = Remarks()
    try:
        check_kind(given, COCO_INSTANCES)
        data = as_object(given, "the file")
        images = index_by_id(data, "images", remarks)
        categories = index_by_id(data, "categories")
        of_image = group_by_image(data, images, remarks)
        names = {
            number: as_text(needed(entry, "file_name", "an image"), "file_name")
            for number, entry in images.items()
        }
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    drops.add(path.name, remarks)
    said: Mapping[Id, str] = {}
    if captions is not None:
        try:
            said = coco_captions(read_json(captions))
        except PromptError as error:
            raise PromptError(f"{captions}: {error}") from None
    find = coco_finder(path, images.values())
    for number, entry in images.items():
        try:
            file = find(names[number])
            read: Callable[[], bytes] = file.read_bytes
        except PromptError as error:
            file, read = None, _failing(Dropped("no such file", str(error)))
        found = _Annotated(entry, of_image.get(number, []), categories, said.get(number), parts)
        yield Found(
            name=names[number],
            document=lambda found=found, file=file: found.document(file),
            read=read,
            remarks=found.remarks,
        )


@dataclass(frozen=True)
class _Annotated:
    """An image of an instances file with its annotations.

    Attributes:
        image: Its entry.
        annotations: Each with its place in the file.
        categories: By their ids.
        caption: What is said of it.
        parts: Of regions that are read beside their boxes, which may be those around outlines.
        remarks: What is left out.
    """

    image: Entry
    annotations: Sequence[tuple[str, Entry]]
    categories: Mapping[Id, Entry]
    caption: str | None
    parts: Sequence[str] = ()
    remarks: Remarks = field(default_factory=Remarks)

    def document(self, file: Path | None) -> GroundedPrompt:
        """What is said of it; if the file does not tell its size, the picture does."""
        size = image_size(self.image) or (None if file is None else read_picture_size(file))
        regions = [self._region(where, entry, size) for where, entry in self.annotations]
        kept = [region for region in regions if region is not None]
        return GroundedPrompt(
            prompt=self.caption or ", ".join(dict.fromkeys(region.phrase for region in kept)),
            regions=tuple(kept),
            canvas=None if size is None else Canvas(width=size[0], height=size[1]),
        )

    def _region(self, where: str, entry: Entry, size: Size | None) -> Region | None:
        if is_crowd(entry) and ATTRIBUTES not in self.parts:
            self.remarks.lose("a crowd", where)
            return None
        number = find_category(entry, self.categories, where, self.remarks)
        if number is None:
            return None
        return read_annotation(
            entry,
            where,
            canvas=size,
            category=self.categories[number],
            remarks=self.remarks,
            parts=self.parts,
        )
