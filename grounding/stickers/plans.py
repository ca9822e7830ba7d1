"""Layouts for requests, as text alone: "two llamas left of a volcano" -> phrases with boxes.

    Plan a layout: two llamas left of a volcano in a meadow.

    llama: [0.04, 0.10, 0.44, 0.48]
    llama: [0.05, 0.53, 0.45, 0.91]
    volcano: [0.53, 0.22, 0.95, 0.77]

The four tasks of LLM-grounded Diffusion (arXiv 2305.13655, section 4.1): counting, attributes,
relations, and negation, whose things are not in the layout. Layouts are tidy: each group of things
has a part of the canvas of its own, so that whatever is asked holds by a margin.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from grounding.stickers.questions import Question, box_text, plural
from grounding.stickers.scene import Box
from grounding.stickers.vocabulary import BACKGROUNDS, article
from grounding.stickers.world import HELD_OUT_PAIRS, Split, World

__all__ = ["PLAN", "Group", "Request", "draw_request", "lay_out", "plan"]

PLAN = "Plan a layout: {}."
NUMBERS: Final = ("no", "one", "two", "three", "four", "five")
RELATIONS: Final = ("left of", "right of", "above", "below")
MOST = 5  # things of a layout
MARGIN = 0.04  # around each thing, of the canvas
ASPECT = 1.25  # of a thing's longer side to its shorter one, at most
JITTER = 0.02  # of the canvas, at most
LONGEST = 0.7  # side of a thing, of the canvas


@dataclass(frozen=True, kw_only=True)
class Group:
    """Alike things."""

    count: int
    concept: str
    material: str | None

    @property
    def phrase(self) -> str:
        """What one of them is called."""
        return f"{self.material} {self.concept}" if self.material else self.concept

    @property
    def words(self) -> str:
        """How a request names them: "a lava llama", "two dogs"."""
        if self.count == 1:
            return article(self.phrase)
        many = plural(self.concept)
        named = f"{self.material} {many}" if self.material else many
        return f"{NUMBERS[self.count]} {named}"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a layout is asked for.

    Attributes:
        groups: One to three, of different concepts.
        relation: How the first group lies to the second; None: not said.
        background: A key of `vocabulary.BACKGROUNDS`; None: not said.
        without: A concept that must not be there; None: not said.
    """

    groups: tuple[Group, ...]
    relation: str | None = None
    background: str | None = None
    without: str | None = None

    @property
    def words(self) -> str:
        """The request: "two llamas left of a volcano in a meadow, without dogs"."""
        names = [group.words for group in self.groups]
        if self.relation:
            names = [f"{names[0]} {self.relation} {names[1]}", *names[2:]]
        words = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        words += f" {BACKGROUNDS[self.background]}" if self.background else ""
        return f"{words}, without {plural(self.without)}" if self.without else words


def plan(world: World, generator: np.random.Generator, split: Split = "train") -> Question:
    """Ask for a layout.

    Args:
        world: Of the words.
        generator: Decides the request and the details of the layout.
        split: "train" names no pair that is held out and leaves a tenth of the requests to
            "held-out"; "held-out pairs" names such pairs alone.
    """
    request = draw_request(world, generator, split)
    boxes = lay_out(request, generator)
    names = [group.phrase for group in request.groups for _ in range(group.count)]
    lines = [f"{name}: {box_text(box)}" for name, box in zip(names, boxes, strict=True)]
    return Question(kind="plan", text=PLAN.format(request.words), answer="\n".join(lines))


def draw_request(world: World, generator: np.random.Generator, split: Split = "train") -> Request:
    """Draw a request; arguments as for `plan`."""
    while True:
        request = _request(world, generator, split)
        held_out = zlib.crc32(f"request:{request.words}".encode()) % 10 == 0
        if split == "held-out pairs" or held_out == (split == "held-out"):
            return request


def _request(world: World, generator: np.random.Generator, split: Split) -> Request:
    number = int(generator.choice(3, p=(0.25, 0.5, 0.25))) + 1
    concepts = [str(c) for c in generator.choice(world.concepts, size=number + 1, replace=False)]
    left, groups = MOST, []
    for i, concept in enumerate(concepts[:number]):
        most = min(left - (number - 1 - i), 4 if number == 1 else 3)
        count = 1 if generator.random() < 0.5 else int(generator.integers(1, most + 1))
        left -= count
        groups.append(
            Group(
                count=count, concept=concept, material=_material(world, concept, generator, split)
            )
        )
    related = number > 1 and generator.random() < 0.6
    return Request(
        groups=tuple(groups),
        relation=str(generator.choice(RELATIONS)) if related else None,
        background=str(generator.choice(world.backgrounds)) if generator.random() < 0.4 else None,
        without=concepts[-1] if generator.random() < 0.2 else None,
    )


def _material(
    world: World, concept: str, generator: np.random.Generator, split: Split
) -> str | None:
    wanted = split == "held-out pairs"
    fitting = [m for m in world.materials if ((m, concept) in HELD_OUT_PAIRS) == wanted]
    if not fitting or (not wanted and generator.random() < 0.5):
        return None
    return str(generator.choice(fitting))


def lay_out(request: Request, generator: np.random.Generator) -> list[Box]:
    """Lay a request out: boxes of all things, group by group.

    Args:
        request: With five things at most.
        generator: Moves things by a little.
    """
    counts = [group.count for group in request.groups]
    if request.relation is None:
        return [_placed(cell, generator) for cell in _cells((0, 0, 1, 1), sum(counts))]
    areas = _areas(request.relation, counts)
    return [
        _placed(cell, generator)
        for area, count in zip(areas, counts, strict=True)
        for cell in _cells(area, count)
    ]


def _areas(relation: str, counts: Sequence[int]) -> list[Box]:
    """A part of the canvas for each group; the third has a strip of its own."""
    strip = 0.65 if len(counts) > 2 else 1.0
    if relation in ("left of", "right of"):
        areas: list[Box] = [(0, 0, 0.5, strip), (0.5, 0, 1, strip)]
        rest: list[Box] = [(0, strip, 1, 1)]
    else:
        areas, rest = [(0, 0, strip, 0.5), (0, 0.5, strip, 1)], [(strip, 0, 1, 1)]
    if relation in ("right of", "below"):
        areas.reverse()
    return (areas + rest)[: len(counts)]


def _cells(area: Box, count: int) -> list[Box]:
    """Cells of an area in rows, as square as can be; a last row that is not full is centred."""
    x0, y0, x1, y1 = area
    width, height = x1 - x0, y1 - y0

    def shorter(columns: int) -> float:
        return min(width / columns, height / -(-count // columns))

    columns = max(range(1, count + 1), key=shorter)
    rows = -(-count // columns)
    w, h = width / columns, height / rows
    cells = []
    for i in range(count):
        row, column = divmod(i, columns)
        in_row = min(columns, count - row * columns)
        left = x0 + (width - in_row * w) / 2 + column * w
        cells.append((left, y0 + row * h, left + w, y0 + (row + 1) * h))
    return cells


def _placed(cell: Box, generator: np.random.Generator) -> Box:
    """A thing in the middle of its cell, moved by a little."""
    w, h = cell[2] - cell[0] - 2 * MARGIN, cell[3] - cell[1] - 2 * MARGIN
    w, h = min(w, ASPECT * h, LONGEST), min(h, ASPECT * w, LONGEST)
    dx, dy = generator.uniform(-JITTER, JITTER, 2)
    x, y = (cell[0] + cell[2]) / 2 + dx, (cell[1] + cell[3]) / 2 + dy
    return (
        round(x - w / 2, 2),
        round(y - h / 2, 2),
        round(x + w / 2, 2),
        round(y + h / 2, 2),
    )
