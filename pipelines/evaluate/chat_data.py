"""What `lavallama evaluate chat` asks about: the sticker world, or what a path is.

A path is recognised by its files:

    instances*.json, panoptic*.json   COCO's objects; itself, in a folder or in its "annotations";
                                      so are Roboflow's _annotations.coco.json, and files of any
                                      name that are COCO's and list several images
    refs*.json, phrases*.json         phrases for objects, of RefCOCO or ours; in the same places
    pairs*.jsonl, examples.jsonl      pictures and captions by twos, ours or Winoground's
    *.json                            prompt documents that name their image, in any format
    pictures alone                    what SEEM finds on them (arXiv 2305.10355, section 6.1)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from tqdm import tqdm

from grounding.drops import Dropped, Drops
from grounding.errors import PromptError
from grounding.find_file import COCO_FILES, find_beside
from grounding.formats import load
from grounding.formats.remarks import Remarks
from grounding.llava.evaluation.pairs import Pair
from grounding.llava.evaluation.subject import Subject, Thing, scene_subject
from grounding.masks import bitmap_to_box, region_box
from grounding.picture_file import PICTURE_SUFFIXES, open_picture
from grounding.picture_folder import list_picture_files
from grounding.stickers.scene import Scene
from grounding.stickers.world import Split, World
from pipelines.evaluate.chat_coco import coco_subjects
from pipelines.evaluate.chat_options import STICKERS, TASKS
from pipelines.evaluate.chat_pairs import read_pairs
from pipelines.evaluate.coco_kind import coco_kind
from seem.evaluation.phrase_source import phrase_source, refcoco_source
from seem.evaluation.sample import Sample, Source

if TYPE_CHECKING:
    from seem.predictor import Predictor

__all__ = ["ChatData", "Seeing", "open_data"]

OBJECTS = (*COCO_FILES, "panoptic*.json")
REFERENCES, PHRASES = "refs*.json", "phrases*.json"
PAIRS = ("pairs*.jsonl", "examples.jsonl")
SEVERAL = 2  # images of a file of COCO's; of one it is a prompt document, too
UNREADABLE = "a picture that cannot be read"
NO_IMAGE, SAME_IMAGE = "documents without an image", "further documents of an image"
NO_PHRASE = "regions without a phrase"


@dataclass(frozen=True, kw_only=True, eq=False)
class ChatData:
    """Pictures that can be asked about.

    Attributes:
        what: In a few words, for the report.
        subjects: The pictures.
        tasks: What can be asked.
        classes: Nouns that can be asked for.
        closed: Whether the nouns are classes, so that what a picture does not list is not on it;
            else they are phrases, of which one may mean what another says.
        scenes: Of stickers: how the pictures are made, in the order of the subjects.
        pairs: Of pictures and captions; of stickers they are made of the scenes.
        left_out: What is not asked about, and why.
        drops: What of the data makes no sense, or was changed.
    """

    what: str
    subjects: Sequence[Subject]
    tasks: tuple[str, ...]
    classes: tuple[str, ...] = ()
    closed: bool = True
    scenes: Sequence[Scene] = ()
    pairs: Sequence[Pair] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    drops: Drops = field(default_factory=Drops)


@dataclass(frozen=True, kw_only=True)
class Seeing:
    """How pictures alone are looked at.

    Attributes:
        open: Opens a SEEM.
        classes: What it looks for; None: all things that it knows.
    """

    open: "Callable[[], Predictor]"
    classes: tuple[str, ...] | None = None


def open_data(
    data: str, *, world: World, scenes: int, split: str, limit: int | None, seeing: Seeing
) -> ChatData:
    """Open the data.

    Args:
        data: "stickers", a file or a folder.
        world: Of the stickers.
        scenes: How many of them.
        split: Of RefCOCO's references.
        limit: Pictures of a path at most.
        seeing: For pictures alone.

    Raises:
        PromptError: The path holds none of the above.
    """
    if data == STICKERS:
        if limit is not None:
            raise PromptError("--limit is for paths; say --scenes for the sticker world")
        return _stickers(world, scenes)
    path = Path(data)
    if not path.exists():
        raise PromptError(f"{path}: no such file or folder; expected {STICKERS!r} or a data set")
    return _with_pictures(_open_path(path, split=split, limit=limit, seeing=seeing))


def _with_pictures(data: ChatData) -> ChatData:
    """The data without what cannot be shown, found out before anything is asked."""
    shown = [subject for subject in data.subjects if _can_show(subject, data.drops)]
    if not shown:
        raise PromptError(f"{data.what}: none of the pictures can be read{data.drops.why()}")
    names = {subject.name for subject in shown}
    pairs = [pair for pair in data.pairs if names.issuperset(pair.images)]
    return replace(data, subjects=shown, pairs=pairs)


def _can_show(subject: Subject, drops: Drops) -> bool:
    try:
        subject.picture()
    except PromptError as error:
        drops.picture(subject.name, Dropped(UNREADABLE, str(error)))
        return False
    return True


def _open_path(path: Path, *, split: str, limit: int | None, seeing: Seeing) -> ChatData:
    file = _annotations(path)
    if file is None:
        if path.suffix.lower() in PICTURE_SUFFIXES:
            return _seen([path], Drops(), seeing)
        documents = [path] if path.is_file() else sorted(path.glob("*.json"))
        if documents:
            return _documents(documents[:limit])
        drops = Drops()
        return _seen(_pictures(path, drops)[:limit], drops, seeing)
    if fnmatch(file.name, REFERENCES):
        return _referred(refcoco_source(file, split=split, limit=limit))
    if fnmatch(file.name, PHRASES):
        return _referred(phrase_source(file, limit=limit))
    if file.suffix == ".jsonl":
        pairs, subjects = read_pairs(file, limit=limit)
        what = f"{len(pairs)} pairs of {file.name}"
        return ChatData(what=what, subjects=subjects, tasks=("fits",), pairs=pairs)
    drops = Drops()
    subjects, classes = coco_subjects(file, limit=limit, drops=drops)
    crowds = sum(len(subject.unsure) for subject in subjects)
    return ChatData(
        what=f"COCO annotations of {_images(subjects)} from {file.name}",
        subjects=subjects,
        tasks=("pope", "counting", "referring"),
        classes=classes,
        left_out={"classes of crowds": crowds} if crowds else {},
        drops=drops,
    )


def _stickers(world: World, count: int) -> ChatData:
    """Half of the scenes have layouts that training never had, half such pairs."""
    half = count // 2
    counts: dict[Split, int] = {"held-out": count - half, "held-out pairs": half}
    scenes = {
        split: [world.scene(seed, split) for seed in range(number)]
        for split, number in counts.items()
    }
    return ChatData(
        what=f"{count} held-out scenes of the sticker world",
        subjects=[scene_subject(scene, split) for split, some in scenes.items() for scene in some],
        tasks=TASKS,
        classes=world.concepts,
        scenes=[scene for some in scenes.values() for scene in some],
    )


def _annotations(path: Path) -> Path | None:
    """The file of annotations that a path is or holds."""
    patterns = (*OBJECTS, REFERENCES, PHRASES, *PAIRS)
    if path.is_file():
        is_named = any(fnmatch(path.name, pattern) for pattern in patterns)
        return path if is_named or coco_kind(path, SEVERAL) else None
    found = [
        file
        for place in (path, path / "annotations")
        for pattern in patterns
        for file in sorted(place.glob(pattern))
    ]
    if any(fnmatch(file.name, REFERENCES) for file in found):
        found = [file for file in found if file.name != "instances.json"]
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise PromptError(f"{path}: holds {names}; name one of these files")
    return found[0] if found else None


def _referred(source: Source) -> ChatData:
    """Phrases for objects; an object has the box of its mask."""

    def subject(sample: Sample) -> Subject:
        boxes = [
            (phrase.text, bitmap_to_box(sample.union(phrase.targets))) for phrase in sample.phrases
        ]
        return Subject(
            name=sample.name,
            picture=lambda: Image.fromarray(sample.image),
            things=tuple(Thing(noun=text, box=box) for text, box in boxes if box is not None),
        )

    subjects = [subject(sample) for sample in tqdm(source.samples(), "images", disable=None)]
    return ChatData(
        what=source.what,
        subjects=subjects,
        tasks=("referring",),
        left_out=source.left_out,
        drops=source.drops,
    )


def _documents(files: Sequence[Path]) -> ChatData:
    """Prompt documents; what their regions are called is on the picture."""
    subjects: dict[str, Subject] = {}
    drops = Drops()
    left_out = {NO_IMAGE: 0, NO_PHRASE: 0, SAME_IMAGE: 0}
    for file in files:
        remarks = Remarks()
        try:
            document = load(file, remarks=remarks)
        except PromptError as error:
            if len(files) == 1:
                raise
            drops.picture(file.name, Dropped("a document that makes no sense", str(error)))
            continue
        finally:
            drops.add(file.name, remarks)
        if document.image is None or document.image in subjects:
            left_out[NO_IMAGE if document.image is None else SAME_IMAGE] += 1
            continue
        things = [
            Thing(noun=" ".join(region.phrase.split()), box=region_box(region))
            for region in document.regions
            if region.phrase.strip()
        ]
        left_out[NO_PHRASE] += len(document.regions) - len(things)
        name = document.image
        picture = partial(_open_beside, file.parent, name)
        subjects[name] = Subject(name=name, picture=picture, things=tuple(things))
    if not subjects:
        raise PromptError(
            f"{files[0]}: expected a prompt document with an image; name it in the field image"
            f"{drops.why()}"
        )
    nouns = dict.fromkeys(noun for subject in subjects.values() for noun in subject.nouns)
    return ChatData(
        what=f"prompt documents of {_images(list(subjects))}",
        subjects=list(subjects.values()),
        tasks=("pope", "referring"),
        classes=tuple(nouns),
        closed=False,
        left_out={what: number for what, number in left_out.items() if number},
        drops=drops,
    )


def _open_beside(folder: Path, name: str) -> Image.Image:
    """The picture that a document in a folder names."""
    return open_picture(find_beside(folder, name))


def _pictures(folder: Path, drops: Drops) -> Sequence[Path]:
    listed = list_picture_files(folder, deep=False)
    if not listed.files:
        known = ", ".join((*OBJECTS, REFERENCES, PHRASES, *PAIRS, "*.json", *PICTURE_SUFFIXES))
        raise PromptError(f"{folder}: expected one of {known}; found none of them")
    for file, reason in listed.passed_over:
        drops.picture(file.name, Dropped(reason))
    return listed.files


def _seen(files: Sequence[Path], drops: Drops, seeing: Seeing) -> ChatData:
    """Pictures alone: what a SEEM finds on them is there; of its own classes, things alone."""
    from seem.vocabulary import spoken_name

    predictor = seeing.open()
    classes = predictor.class_names(seeing.classes)
    stuff = () if predictor.vocabulary is None or seeing.classes else predictor.vocabulary.stuff
    subjects = []
    for file in tqdm(files, "segmenting", disable=None):
        try:
            predictor.set_image(open_picture(file))
        except PromptError as error:
            drops.picture(file.name, Dropped(UNREADABLE, str(error)))
            continue
        found = predictor.panoptic(seeing.classes)
        names = [classes[each.label] for each in found.segments]
        nouns = dict.fromkeys(spoken_name(name) for name in names if name not in stuff)
        subjects.append(
            Subject(
                name=file.name,
                picture=partial(open_picture, file),
                things=tuple(Thing(noun=noun) for noun in nouns),
            )
        )
    return ChatData(
        what=f"{_images(subjects)}, with what SEEM finds on them",
        subjects=subjects,
        tasks=("pope",),
        classes=tuple(dict.fromkeys(spoken_name(name) for name in classes if name not in stuff)),
        drops=drops,
    )


def _images(subjects: Sequence[object]) -> str:
    return f"{len(subjects)} image{'s' * (len(subjects) != 1)}"
