"""Phrases for parts of images, in two forms of JSON.

Axes: H W the image.

Ours, `phrases.json`; an annotation's segmentation is COCO's, one or more phrases name it:

    {"images": [{"id": 1, "file_name": "a.jpg"}],
     "annotations": [{"image_id": 1, "segmentation": [[x, y, ...]], "phrases": ["the left dog"]}]}

RefCOCO, RefCOCO+, RefCOCOg (arXiv 1608.00272; https://github.com/lichengunc/refer):
`instances.json` and beside it `refs(NAME).json`, the list of the file `refs(NAME).p` written as
JSON. Pickles are not read: they can run anything. To convert one that you trust:
`json.dump(pickle.load(open("refs(unc).p", "rb")), open("refs(unc).json", "w"))`.

    [{"ref_id": 0, "ann_id": 7, "image_id": 1, "split": "val", "sentences": [{"sent": "..."}]}]
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from grounding.drops import Dropped, Drops
from grounding.errors import LavallamaError, PromptError
from grounding.find_file import coco_finder
from grounding.formats.annotation import (
    NO_SENSE,
    Entry,
    Id,
    identify,
    in_order,
    index_by_id,
)
from grounding.formats.fields import as_list, as_object, as_text, needed
from grounding.formats.remarks import Remarks
from grounding.geometry import Size
from grounding.jsonfile import parse_json, read_text
from seem.data_file import (
    MAX_BYTES,
    read_json,
    read_or_drop,
    read_segmentation,
    told_size,
)
from seem.evaluation.sample import Phrase, Sample, Source, Truth

__all__ = ["phrase_source", "refcoco_source"]

TASKS = ("phrase", "clicks", "box", "scribble", "mask")
SPLIT = "val"

Named = tuple[str, Mapping[str, object], tuple[str, ...]]  # where, annotation, its phrases


def phrase_source(path: Path, *, limit: int | None = None) -> Source:
    """Our own form.

    Args:
        path: The JSON file; images lie in "images" or beside it.
        limit: Images at most.

    Raises:
        PromptError: the file is no such thing.
    """
    data = read_json(path)
    named: list[Named] = []
    try:
        images = index_by_id(data, "images")
        for place, value in enumerate(as_list(needed(data, "annotations", ""), "annotations")):
            where = f"annotations[{place}]"
            entry = as_object(value, where)
            key = "phrases" if "phrases" in entry else "sentences"
            named.append((where, entry, _texts(needed(entry, key, where), f"{where}.{key}")))
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    return _source(path, images, named, limit)


def refcoco_source(path: Path, *, split: str = SPLIT, limit: int | None = None) -> Source:
    """RefCOCO's form.

    Args:
        path: `refs(NAME).json`; `instances.json` lies beside it.
        split: Which references.
        limit: Images at most.

    Raises:
        PromptError: the files are no such thing, or have no references of the split.
    """
    instances = path.with_name("instances.json")
    data = read_json(instances)
    named: list[Named] = []
    try:
        images = index_by_id(data, "images")
        annotations = index_by_id(data, "annotations")
    except PromptError as error:
        raise PromptError(f"{instances}: {error}") from None
    try:
        references = as_list(parse_json(read_text(path, MAX_BYTES)), "the file")
        for place, value in enumerate(references):
            where = f"[{place}]"
            entry = as_object(value, where)
            if entry.get("split", split) != split:
                continue
            number = identify(needed(entry, "ann_id", where), f"{where}.ann_id")
            if number not in annotations:
                raise PromptError(f"{where}.ann_id: {instances.name} has no annotation {number}")
            texts = _texts(needed(entry, "sentences", where), f"{where}.sentences")
            named.append((where, annotations[number], texts))
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    if not named:
        raise PromptError(f"{path}: expected references of the split {split!r}; got none")
    return _source(path, images, named, limit)


def _texts(value: object, where: str) -> tuple[str, ...]:
    texts = []
    for place, item in enumerate(as_list(value, where)):
        here = f"{where}[{place}]"
        if isinstance(item, Mapping):
            item = needed(item, "sent", here)
        text = as_text(item, here).strip()
        if not text:
            raise PromptError(f"{here}: expected words, got none; leave it out")
        texts.append(text)
    return tuple(texts)


def _source(
    path: Path, images: Mapping[Id, Entry], named: list[Named], limit: int | None
) -> Source:
    by_image: defaultdict[Id, list[Named]] = defaultdict(list)
    for where, entry, texts in named:
        number = identify(entry.get("image_id"), f"{path}: {where}.image_id")
        if number not in images:
            raise PromptError(f"{path}: {where}.image_id: there is no image {number}")
        by_image[number].append((where, entry, texts))
    chosen = in_order(by_image)[:limit]
    if not chosen:
        raise PromptError(f"{path}: expected annotated images; got none")
    left_out: dict[str, int] = {}
    drops, find = Drops(), coco_finder(path, images.values())

    def samples() -> Iterator[Sample]:
        for number in chosen:
            image = images[number]
            try:
                name = as_text(needed(image, "file_name", f"image {number}"), "file_name")
            except LavallamaError as error:
                raise PromptError(f"{path}: {error}") from None
            try:
                pixels = read_or_drop(find, name)
                told = told_size(image, pixels)
            except Dropped as dropped:
                drops.picture(name, dropped)
                continue
            remarks = Remarks()
            yield _sample(Path(name).stem, pixels, told, by_image[number], left_out, remarks)
            drops.add(name, remarks)

    return Source(
        what=f"phrases of {path.name}, {len(chosen)} image{'s' * (len(chosen) != 1)}",
        tasks=TASKS,
        usual=("phrase",),
        count=len(chosen),
        samples=samples,
        left_out=left_out,
        drops=drops,
    )


def _sample(
    name: str,
    pixels: np.ndarray,
    told: Size | None,
    named: Sequence[Named],
    left_out: dict[str, int],
    remarks: Remarks,
) -> Sample:
    """The objects of an image with their phrases."""
    truths, phrases = [], []
    for where, entry, texts in named:
        place, value = f"{where}.segmentation", entry.get("segmentation")
        try:
            mask = read_segmentation(value, pixels.shape[:2], place, told=told, remarks=remarks)
        except PromptError as error:
            remarks.lose(NO_SENSE, str(error))
            continue
        if not mask.any():
            left_out["objects without a pixel"] = left_out.get("objects without a pixel", 0) + 1
            continue
        target = (len(truths),)
        truths.append(Truth(mask=mask, label=None, group="objects"))
        phrases += [Phrase(text=text, targets=target, kind="phrases") for text in texts]
    return Sample(name=name, image=pixels, truths=tuple(truths), phrases=tuple(phrases))
