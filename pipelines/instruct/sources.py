"""Where scenes come from: prompt documents in any form that trains GLIGEN, or COCO's captions."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from grounding.drops import Dropped, Drops
from grounding.errors import PromptError
from grounding.geometry import Box
from grounding.llava.instruct.scene import Scene
from grounding.planning.caption import read_phrase
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from pipelines.annotate.annotator import NAME_KEY, THING_KEY
from pipelines.annotate.raw import read_captions
from pipelines.training.sources import Found, open_source
from seem.data_file import read_json

__all__ = ["read_scenes"]

DOCUMENTS = "documents.jsonl"  # of `lavallama annotate`


def read_scenes(
    captions: Path, instances: Path | None, pictures: Path | None, drops: Drops
) -> list[Scene]:
    """Read scenes, each picture once.

    Args:
        captions: COCO captions, COCO instances, a folder of pictures with documents, JSON lines of
            documents, or what `lavallama annotate` made.
        instances: COCO instances, for captions of COCO's.
        pictures: The folder below which pictures are named; None: the deepest that has all.
        drops: Counts what cannot be used.

    Raises:
        PromptError: There is no such file, or none of these.
    """
    if instances is not None or _is_captions(captions):
        scenes = _coco(captions, instances, drops)
    else:
        place = captions / DOCUMENTS
        data = str(place if place.is_file() else captions)
        found = (_scene(one, captions, drops) for one in _open(data, drops))
        scenes = _named_below([scene for scene in found if scene is not None], pictures)
    kept: dict[str, Scene] = {}
    for scene in scenes:
        if scene.name in kept:
            drops.picture(scene.name, Dropped("the same picture twice"))
        elif not scene.context(boxes=True):
            drops.picture(scene.name, Dropped("neither a caption nor a box"))
        else:
            kept[scene.name] = scene
    drops.pictures, drops.regions = len(kept), sum(len(s.objects) for s in kept.values())
    return list(kept.values())


def _is_captions(path: Path) -> bool:
    """Whether a file is COCO's captions."""
    if path.suffix != ".json" or not path.is_file():
        return False
    annotations = read_json(path).get("annotations")
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    return isinstance(first, dict) and "caption" in first


def _open(data: str, drops: Drops) -> Iterator[Found]:
    return open_source(data, folder=Path(), drops=drops)


def _coco(captions: Path, instances: Path | None, drops: Drops) -> Iterator[Scene]:
    """Scenes of COCO's captions, with the objects of its instances."""
    regions: dict[str, tuple[Region, ...]] = {}
    for found in _open(str(instances), drops) if instances is not None else ():
        regions[found.name] = found.document().regions
        drops.add(found.name, found.remarks)
    for name, said in read_captions(captions).items():
        here = regions.get(name, ())
        yield Scene(name=name, captions=said, objects=_objects(here), nouns=_nouns(here))


def _scene(found: Found, folder: Path, drops: Drops) -> Scene | None:
    """The scene of a document; its name is the path of its picture."""
    try:
        document = found.document()
    except Dropped as dropped:
        drops.picture(found.name, dropped)
        return None
    except (ValueError, OSError) as error:
        drops.picture(found.name, Dropped("a document that makes no sense", str(error)))
        return None
    finally:
        drops.add(found.name, found.remarks)
    things = tuple(r for r in document.regions if r.attributes.get(THING_KEY, True))
    return Scene(
        name=document.image or str(folder / found.name),
        captions=_captions(document),
        objects=_objects(things),
        nouns=(*_nouns(document.regions), *filter(None, (document.background,))),
    )


def _captions(document: GroundedPrompt) -> tuple[str, ...]:
    """The caption, and the others that `lavallama annotate` keeps in the provenance."""
    settings = {} if document.provenance is None else document.provenance.settings
    others = [str(value) for key, value in settings.items() if key.startswith("caption ")]
    return tuple(text for text in (document.prompt, *others) if text.strip())


def _objects(regions: tuple[Region, ...]) -> tuple[tuple[str, Box], ...]:
    bounds = [(region.phrase.strip(), region.bounds()) for region in regions]
    return tuple((phrase, box) for phrase, box in bounds if phrase and box is not None)


def _nouns(regions: tuple[Region, ...]) -> tuple[str, ...]:
    """What regions are, without attributes."""
    names = []
    for region in regions:
        name = region.attributes.get(NAME_KEY)
        thing = None if isinstance(name, str) else read_phrase(region.phrase)
        names.append(name if isinstance(name, str) else thing.noun if thing else region.phrase)
    return tuple(dict.fromkeys(name for name in names if name.strip()))


def _named_below(scenes: list[Scene], pictures: Path | None) -> list[Scene]:
    """Scenes whose pictures are named below one folder, as records want them."""
    paths = [Path(os.path.abspath(scene.name)) for scene in scenes]
    if pictures is None and paths:
        pictures = Path(os.path.commonpath([path.parent for path in paths]))
    named = []
    for scene, path in zip(scenes, paths, strict=True):
        assert pictures is not None, "there are paths"
        name = PurePosixPath(os.path.relpath(path, pictures.absolute()).replace(os.sep, "/"))
        if ".." in name.parts:
            raise PromptError(f"{path}: does not lie below {pictures}; name a folder above it")
        named.append(replace(scene, name=str(name)))
    return named
