"""What is asked about a picture: read, checked and in the model's terms, before a model is loaded.

Axes: V vertices of a line, H W the picture.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from grounding.document_paths import place_beside
from grounding.errors import PromptError
from grounding.formats import load
from grounding.jsonfile import describe, parse_json, read_text
from grounding.masks import bitmap_to_rle, picture_to_bitmap
from grounding.picture_file import open_picture, open_upright
from grounding.prompt import GroundedPrompt
from grounding.region import Reference, Region, Stroke
from pipelines.segmentation.options import Click, Elsewhere
from seem.marks import Marks, pixel_marks

__all__ = ["Inquiry", "Subject", "read_inquiry"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """One object that is asked about.

    Attributes:
        marks: What is drawn on the picture.
        text: What it is.
        audio: The same in spoken words: their transcript.
        reference: What it looks like: another picture, and what is drawn on that.
        name: Of the reference's file.
    """

    marks: Marks = Marks()
    text: str | None = None
    audio: str | None = None
    reference: tuple[Image.Image, Marks] | None = None
    name: str | None = None

    def region(self) -> Region:
        """The subject as a region of a document."""
        mask = self.marks.mask
        return Region(
            phrase=self.text or self.audio or "",
            box=self.marks.box,
            points=self.marks.points,
            strokes=self.marks.strokes,
            mask=None if mask is None else bitmap_to_rle(mask),
            reference=None if self.name is None else Reference(image=self.name),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Inquiry:
    """Everything that is asked.

    Attributes:
        subjects: Objects, one answer each.
        texts: To find all instances of.
        spoken: The same, of a transcript of speech.
        document: To answer region by region; None: there is none.
        references: Pictures that the document refers to.
    """

    subjects: tuple[Subject, ...] = ()
    texts: tuple[str, ...] = ()
    spoken: str | None = None
    document: GroundedPrompt | None = None
    references: dict[str, Image.Image] = field(default_factory=dict)


def read_inquiry(
    options: argparse.Namespace, size: tuple[int, int], spoken: str | None = None
) -> Inquiry:
    """Read what the options ask, and the files that they name.

    Args:
        options: Of `pipelines.segmentation.options`.
        size: (height, width) of the picture.
        spoken: What `--audio` says.

    Raises:
        PromptError: A file cannot be read, or a prompt does not lie on the picture.
    """
    if options.prompts is not None:
        return _document(Path(options.prompts))
    texts = tuple(map(_said, options.text))
    audio = None if spoken is None else _said(spoken)
    drawn = _drawn(options, size)
    if not (drawn or options.box or options.reference):
        return Inquiry(texts=texts, spoken=audio)
    words = Subject(text=texts[0] if texts else None, audio=audio)
    subjects = []
    for box in options.box or [None]:
        marks = replace(drawn, box=pixel_marks(size, box=box).box) if box else drawn
        for reference in options.reference or [None]:
            subjects.append(_subject(replace(words, marks=marks), reference))
    return Inquiry(subjects=tuple(subjects))


def _subject(said: Subject, elsewhere: Elsewhere | None) -> Subject:
    """A subject with its reference."""
    in_words = said.text is not None or said.audio is not None
    if not said.marks.positive and not in_words and elsewhere is None:
        raise PromptError(
            "only clicks and lines beside the object are given: add one on it, a box or a text"
        )
    if elsewhere is None:
        return said
    picture = open_picture(elsewhere.path)
    size = (picture.height, picture.width)
    place = elsewhere.place
    try:
        if len(place) == 4:
            where = pixel_marks(size, box=place)
        elif place:
            where = pixel_marks(size, points=[place])
        else:
            where = pixel_marks(size, mask=np.ones(size, bool))
    except PromptError as error:
        raise PromptError(f"{elsewhere.path}: {error}") from None
    return replace(said, reference=(picture, where), name=elsewhere.path)


def _said(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PromptError("a text is not valid UTF-8; type it in a UTF-8 terminal") from None
    if not text.strip():
        raise PromptError("a text must have at least one word; got an empty one")
    return " ".join(text.split())


def _drawn(options: argparse.Namespace, size: tuple[int, int]) -> Marks:
    """Points, strokes and mask: what shows one object."""
    drawn: dict[str, Any] = {}
    clicks: list[Click] = options.point
    if clicks:
        drawn["points"] = [[click.x, click.y] for click in clicks]
        drawn["labels"] = [click.label for click in clicks]
    if options.mask is not None:
        drawn["mask"] = _mask(options.mask, size)
    strokes = tuple(stroke for path in options.scribble for stroke in _scribble(path, size))
    return replace(pixel_marks(size, **drawn), strokes=strokes)


def _scribble(path: str, size: tuple[int, int]) -> list[Stroke]:
    try:
        data = parse_json(read_text(path))
        if not isinstance(data, list) or not data:
            raise PromptError(f"expected a list of lines [[x, y], ...]; got {describe(data)}")
        if all(map(_is_pair, data)):
            data = [data]  # one line
        return [_stroke(item, index, size) for index, item in enumerate(data)]
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None


def _stroke(item: Any, index: int, size: tuple[int, int]) -> Stroke:
    try:
        if isinstance(item, dict):
            return Stroke.model_validate(item)
        if isinstance(item, list) and item and all(map(_is_pair, item)):
            return pixel_marks(size, strokes=[item]).strokes[0]
    except PromptError as error:
        raise PromptError(f"line {index}: {error}") from None
    raise PromptError(
        f"line {index}: expected [[x, y], ...] in pixels, or a stroke of a prompt document; got "
        f"{describe(item)}"
    )


def _is_pair(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and all(type(v) in (int, float) for v in item)


def _mask(path: str, size: tuple[int, int]) -> np.ndarray:
    """A bitmap [H, W]: every pixel that is not black."""
    bitmap = picture_to_bitmap(open_upright(path))
    if bitmap.shape != size:
        raise PromptError(
            f"{path}: a mask must have the picture's size of {size[1]} x {size[0]} pixels; got "
            f"{bitmap.shape[1]} x {bitmap.shape[0]}"
        )
    if not bitmap.any():
        raise PromptError(f"{path}: marks nothing: all of it is black")
    return bitmap


def _document(path: Path) -> Inquiry:
    document = place_beside(load(path), path.parent)
    if not document.regions and (document.segment is None or document.segment.mode == "prompt"):
        raise PromptError(f"{path}: asks for nothing: it has no regions")
    references = {}
    for region in document.regions:
        name = region.reference.image if region.reference is not None else None
        if name is not None and name not in references:
            references[name] = open_picture(name)
    return Inquiry(document=document, references=references)
