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
from collections.abc import Iterator, Mapping
from pathlib import Path

from grounding.errors import LavallamaError, PromptError
from grounding.find_file import coco_finder
from grounding.formats.fields import as_list, as_object, as_text, as_whole, needed
from grounding.jsonfile import parse_json, read_text
from seem.data_file import (
    MAX_BYTES,
    index_by_id,
    read_image,
    read_json,
    read_segmentation,
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
            number = as_whole(needed(entry, "ann_id", where), f"{where}.ann_id", 0)
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
    path: Path, images: Mapping[object, Mapping[str, object]], named: list[Named], limit: int | None
) -> Source:
    by_image: defaultdict[int, list[Named]] = defaultdict(list)
    for where, entry, texts in named:
        number = as_whole(entry.get("image_id", -1), f"{path}: {where}.image_id", 0)
        if number not in images:
            raise PromptError(f"{path}: {where}.image_id: there is no image {number}")
        by_image[number].append((where, entry, texts))
    chosen = sorted(by_image)[:limit]
    if not chosen:
        raise PromptError(f"{path}: expected annotated images; got none")
    left_out: dict[str, int] = {}
    find = coco_finder(path, images.values())

    def sample(number: int) -> Sample:
        name = as_text(needed(images[number], "file_name", f"image {number}"), "file_name")
        pixels = read_image(find(name))
        truths, phrases = [], []
        for where, entry, texts in by_image[number]:
            value = needed(entry, "segmentation", where)
            mask = read_segmentation(value, pixels.shape[:2], f"{where}.segmentation")
            if not mask.any():
                left_out["objects without a pixel"] = left_out.get("objects without a pixel", 0) + 1
                continue
            target = (len(truths),)
            truths.append(Truth(mask=mask, label=None, group="objects"))
            phrases += [Phrase(text=text, targets=target, kind="phrases") for text in texts]
        stem = Path(name).stem
        return Sample(name=stem, image=pixels, truths=tuple(truths), phrases=tuple(phrases))

    def samples() -> Iterator[Sample]:
        for number in chosen:
            try:
                yield sample(number)
            except LavallamaError as error:
                raise PromptError(f"{path}: {error}") from None

    return Source(
        what=f"phrases of {path.name}, {len(chosen)} image{'s' * (len(chosen) != 1)}",
        tasks=TASKS,
        usual=("phrase",),
        count=len(chosen),
        samples=samples,
        left_out=left_out,
    )
