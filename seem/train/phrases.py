"""What a person might say of a scene, and which of its objects that means.

A text means all objects that it fits: "llama" all llamas, whatever they are made of. Where things
lie is part of it: "the dog left of the car", "the llama on the left". Some texts fit nothing.
Boxes are normalised xyxy of what is visible.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from grounding.geometry import Box
from grounding.stickers.captions import APART, direction
from grounding.stickers.vocabulary import article
from seem.train.scenes import Lexicon, Record

__all__ = ["Said", "say"]

VAIN = 0.3  # share of the texts
SIDES = (
    ("on the left", 0, 1),
    ("on the right", 0, -1),
    ("at the top", 1, 1),
    ("at the bottom", 1, -1),
)


@dataclass(frozen=True, kw_only=True)
class Said:
    """A text and the objects that it means, by number; 0 is the background."""

    text: str
    means: tuple[int, ...]


def say(
    record: Record,
    boxes: Mapping[int, Box],
    lexicon: Lexicon,
    generator: np.random.Generator,
    vain: Sequence[str] = (),
) -> Said:
    """Say something about a scene.

    Args:
        record: Its names.
        boxes: Where each visible object lies, by number (object i of the record is i + 1).
        lexicon: Where names come from that fit nothing.
        generator: Decides what is said.
        vain: Names that are often said where they fit nothing: new ones, which are a small part
            of the lexicon.
    """
    if vain and generator.random() < VAIN:
        absent = [name for name in vain if name not in record.concepts]
        if absent:
            name = absent[int(generator.integers(len(absent)))]
            return Said(text=_worded(name, generator), means=())
    named = [number for number in boxes if number and record.concepts[number - 1]]
    kind = generator.random()
    if not named or kind < 0.1:
        return _nothing(record, lexicon, generator)
    if kind < 0.2 and record.background and 0 in boxes:
        return Said(text=_worded(record.background, generator), means=(0,))
    number = named[int(generator.integers(len(named)))]
    concept, material = record.concepts[number - 1], record.materials[number - 1]
    phrase = record.phrases[number - 1]
    assert concept, "the object has a name"
    assert phrase, "an object with a name has a phrase"
    if kind < 0.3 and material:
        return Said(text=material, means=_fitting(record, named, material=material))
    if kind < 0.5:
        found = _placed(record, boxes, named, number, generator)
        if found is not None:
            return found
    if kind < 0.75 or phrase == concept:
        return Said(
            text=_worded(concept, generator), means=_fitting(record, named, concept=concept)
        )
    means = _fitting(record, named, concept=concept, material=material)
    return Said(text=_worded(phrase, generator), means=means)


def _fitting(
    record: Record, named: list[int], *, concept: str | None = None, material: str | None = None
) -> tuple[int, ...]:
    """The objects of a concept, of a material, or of both."""
    return tuple(
        number
        for number in named
        if (concept is None or record.concepts[number - 1] == concept)
        and (material is None or record.materials[number - 1] == material)
    )


def _placed(
    record: Record,
    boxes: Mapping[int, Box],
    named: list[int],
    number: int,
    generator: np.random.Generator,
) -> Said | None:
    """A text that says where the object lies, if that makes it the only one meant."""
    subject = _subject(record, number, generator)
    alike = [n for n in named if subject in (record.concepts[n - 1], record.phrases[n - 1])]
    if len(alike) > 1 or generator.random() < 0.3:
        side, axis, sign = SIDES[int(generator.integers(len(SIDES)))]
        order = sorted(alike, key=lambda n: sign * (boxes[n][axis] + boxes[n][axis + 2]))
        if len(order) > 1 and _gap(boxes[order[0]], boxes[order[1]], axis) < APART:
            return None
        return Said(text=f"the {subject} {side}", means=(order[0],))
    others = [n for n in named if record.concepts[n - 1] != record.concepts[number - 1]]
    if not others:
        return None
    other = others[int(generator.integers(len(others)))]
    where = direction(boxes[number], boxes[other])
    if where is None:
        return None
    return Said(
        text=f"the {subject} {where} the {_subject(record, other, generator)}", means=(number,)
    )


def _subject(record: Record, number: int, generator: np.random.Generator) -> str:
    """The object's name, with or without its material."""
    name = (record.phrases if generator.random() < 0.5 else record.concepts)[number - 1]
    assert name is not None, "the object has a name"
    return name


def _gap(one: Box, other: Box, axis: int) -> float:
    """How far apart two centres are along an axis."""
    return abs(one[axis] + one[axis + 2] - other[axis] - other[axis + 2]) / 2


def _nothing(record: Record, lexicon: Lexicon, generator: np.random.Generator) -> Said:
    """A name that fits nothing in the scene."""
    absent = [concept for concept in lexicon.concepts if concept not in record.concepts]
    if not absent:
        return Said(text=_worded("nothing", generator), means=())
    name = absent[int(generator.integers(len(absent)))]
    if lexicon.materials and generator.random() < 0.3:
        materials = lexicon.materials
        name = f"{materials[int(generator.integers(len(materials)))]} {name}"
    return Said(text=_worded(name, generator), means=())


def _worded(name: str, generator: np.random.Generator) -> str:
    """The bare name, or with an article."""
    kind = generator.random()
    return name if kind < 0.5 else f"the {name}" if kind < 0.75 else article(name)
