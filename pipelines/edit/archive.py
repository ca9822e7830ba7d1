"""Archives: a history in a folder.

`history.json` has the steps and the documents after them; `pictures/` the pictures, each under the
SHA-256 of its pixels, so that steps which leave the picture alone cost nothing. Files are written
whole or not at all, and `history.json` last: a folder is either as it was, or as it is now.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pydantic import Field

from grounding.errors import PromptError
from grounding.jsonfile import describe, parse_json, read_text
from grounding.part import Part, Text, Whole
from grounding.picture_file import open_picture
from grounding.prompt import GroundedPrompt
from pipelines.edit.history import Edit, History, Moment, edit_of
from pipelines.edit.scene import Scene, pixel_digest

__all__ = ["HISTORY", "Models", "archived", "history_digest", "read_archive"]

SCHEMA = "lavallama/edit/v1"
HISTORY, PICTURES = "history.json", "pictures"
DIGEST = re.compile(r"[0-9a-f]{64}")
MAX_MOMENTS = 10_000


class Models(Part):
    """What a history was made with."""

    model: Text = "embedded"
    adapter: Text | None = None
    vae: Text | None = None
    text_encoder: Text | None = None
    segmenter: Text = "embedded"


class _Kept(Part):
    """A scene on disk, and the step that led to it."""

    step: dict[str, Any] | None = None
    document: GroundedPrompt
    picture: Text
    selected: tuple[Text, ...] = ()
    said: Text = ""


class _Archive(Part):
    """`history.json`."""

    schema_: Literal["lavallama/edit/v1"] = Field(alias="schema")
    models: Models = Models()
    place: Whole = Field(ge=0)
    scenes: tuple[_Kept, ...] = Field(min_length=1, max_length=MAX_MOMENTS)


def archived(
    history: History, models: Models, folder: Path
) -> dict[Path, bytes | Callable[[Path], object]]:
    """What to write into a folder, for `grounding.files.write_files`."""
    contents: dict[Path, bytes | Callable[[Path], object]] = {}
    scenes = []
    steps = [None, *(moment.step for moment in history.moments)]
    for step, scene in zip(
        steps, [history.first, *(one.scene for one in history.moments)], strict=True
    ):
        digest = pixel_digest(scene.picture)
        path = folder / PICTURES / f"{digest}.png"
        if path not in contents and not path.exists():
            contents[path] = _png(scene.picture)
        scenes.append(
            {
                **({} if step is None else {"step": _plain(step)}),
                "document": scene.document.to_dict(),
                "picture": digest,
                **({"selected": list(scene.selected)} if scene.selected else {}),
                **({"said": scene.said} if scene.said else {}),
            }
        )
    content = {
        "schema": SCHEMA,
        "models": models.model_dump(mode="json"),
        "place": history.place,
        "scenes": scenes,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    contents[folder / HISTORY] = text.encode()
    return contents


def history_digest(folder: Path) -> str:
    """Of the history in a folder, as it is on the disk; "" if there is none."""
    try:
        return hashlib.sha256((folder / HISTORY).read_bytes()).hexdigest()
    except OSError:
        return ""


def read_archive(folder: Path) -> tuple[History, Models]:
    """Read a history.

    Raises:
        PromptError: it is none, damaged, or one of its pictures is missing or another one.
    """
    path = folder / HISTORY
    try:
        kept = _Archive.model_validate(parse_json(read_text(path)))
        pictures: dict[str, UInt8[np.ndarray, "H W 3"]] = {}
        scenes = [_scene(one, folder / PICTURES, pictures) for one in kept.scenes]
        steps = [None if one.step is None else edit_of(one.step) for one in kept.scenes]
        if steps[0] is not None or None in steps[1:]:
            raise PromptError("scenes: every one but the first has a step that led to it")
        if kept.place >= len(scenes):
            raise PromptError(f"place: must be at most {len(scenes) - 1}, got {kept.place}")
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    moments = [
        Moment(step=step, scene=scene)
        for step, scene in zip(steps[1:], scenes[1:], strict=True)
        if step is not None
    ]
    return History(first=scenes[0], moments=tuple(moments), place=kept.place), kept.models


def _scene(kept: _Kept, folder: Path, pictures: dict[str, UInt8[np.ndarray, "H W 3"]]) -> Scene:
    digest = kept.picture
    if not DIGEST.fullmatch(digest):
        raise PromptError(f"picture: must be 64 hexadecimal digits, got {describe(digest)}")
    if digest not in pictures:
        scene = Scene.of(open_picture(folder / f"{digest}.png"))
        if pixel_digest(scene.picture) != digest:
            raise PromptError(f"{folder / digest}.png: is another picture than was saved")
        pictures[digest] = scene.picture
    picture = pictures[digest]
    canvas = kept.document.canvas
    if canvas is None or canvas.size != (picture.shape[1], picture.shape[0]):
        raise PromptError("document: its canvas is not the picture's size")
    for name in kept.selected:
        kept.document.region(name)
    return Scene(document=kept.document, picture=picture, selected=kept.selected, said=kept.said)


def _plain(step: Edit) -> dict[str, Any]:
    """A step as JSON; its seed and its kind are always said."""
    content = step.model_dump(mode="json", exclude_defaults=True)
    seed = getattr(step, "seed", None)
    return {"do": step.do, **({} if seed is None else {"seed": seed}), **content}


def _png(picture: UInt8[np.ndarray, "H W 3"]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return file.getvalue()
