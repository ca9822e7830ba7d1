"""Presets of the sticker world, its train/held-out split, and how scenes are drawn at random.

Some (material, concept) pairs and some layouts never occur in training, (lava, llama) first: "a
lava llama" must come from composition.
"""

import dataclasses
import zlib
from typing import Final, Literal

import numpy as np

from grounding.stickers.captions import caption
from grounding.stickers.scene import Box, Scene, Sticker
from grounding.stickers.sheet import sprite
from grounding.stickers.vocabulary import BACKGROUNDS, CONCEPTS, MATERIALS, STYLES

Split = Literal["train", "held-out", "held-out pairs", "any pair"]

HELD_OUT_PAIRS: Final[frozenset[tuple[str, str]]] = frozenset(
    (material, concept)
    for material in MATERIALS
    for concept in CONCEPTS
    if (material, concept) == ("lava", "llama")
    or zlib.crc32(f"pair:{material} {concept}".encode()) % 10 == 0
)
LAYOUT_GRID = 4  # layouts are told apart by the cells of a 4 x 4 grid that hold the centres
PLACEMENT_TRIES = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """What may occur in a scene.

    Attributes:
        concepts: Objects, by name.
        styles: Art styles, from ``vocabulary.STYLES``.
        materials: Materials, by name.
        backgrounds: Backgrounds, by name.
        counts: Relative frequency of scenes with 1, 2, 3 ... objects.
        sides: Shortest and longest permitted longer side of an object, as fractions of the canvas.
        overlap: Largest permitted share of the smaller of two boxes that the other covers.
        material_share: Share of the objects that are made of a material.
        mirrored_share: Share of the objects that are mirrored left to right.
        size: Canvas (width, height) in pixels.
        repeat_share: Share of the scenes with several objects in which one concept occurs twice.
    """

    concepts: tuple[str, ...]
    styles: tuple[str, ...]
    materials: tuple[str, ...]
    backgrounds: tuple[str, ...]
    counts: tuple[float, ...]
    sides: tuple[float, float]
    overlap: float
    material_share: float
    mirrored_share: float
    size: tuple[int, int]
    repeat_share: float = 0.0

    def scene(self, seed: int, split: Split = "train", count: int | None = None) -> Scene:
        """Draw a scene: the same seed gives the same scene.

        Args:
            seed: Any integer >= 0.
            split: "train" avoids held-out pairs and layouts; "held-out" uses layouts that training
                avoids (scenes of one object have no layout of their own) with pairs from training;
                "held-out pairs" gives every object a material it never had in training; "any pair"
                uses the layouts of training with every pair, for what measures and is not measured.
            count: The number of objects; drawn from ``counts`` if None.
        """
        generator = np.random.default_rng([seed, zlib.crc32(split.encode())])
        if count is None:
            weights = np.asarray(self.counts) / sum(self.counts)
            count = int(generator.choice(len(weights), p=weights)) + 1
        boxes: list[Box] = []
        objects: list[tuple[str, str | None, str]] = []
        apart = split in ("held-out", "held-out pairs")
        while not boxes or is_held_out_layout(boxes) != (apart and len(boxes) > 1):
            objects = self._objects(generator, count, split)
            boxes = self._layout(generator, objects)
        stickers = tuple(
            Sticker(
                concept=concept,
                material=material,
                style=style,
                box=box,
                mirrored=bool(generator.random() < self.mirrored_share),
            )
            for (concept, material, style), box in zip(objects, boxes, strict=True)
        )
        background = str(generator.choice(self.backgrounds))
        words = caption(stickers, background, generator)
        return Scene(
            background=background, stickers=stickers, caption=words, size=self.size, seed=seed
        )

    def _objects(
        self, generator: np.random.Generator, count: int, split: Split
    ) -> list[tuple[str, str | None, str]]:
        style = str(generator.choice(self.styles))
        possible = [c for c in self.concepts if self._materials_of(c, split)]
        chosen = generator.choice(len(possible), size=count, replace=False)
        if self.repeat_share and count > 1 and generator.random() < self.repeat_share:
            chosen[1] = chosen[0]
        return [(possible[i], self._material(generator, possible[i], split), style) for i in chosen]

    def _materials_of(self, concept: str, split: Split) -> list[str]:
        """The materials that the split has for a concept."""
        if split == "any pair":
            return list(self.materials)
        held_out = split == "held-out pairs"
        return [m for m in self.materials if ((m, concept) in HELD_OUT_PAIRS) == held_out]

    def _material(self, generator: np.random.Generator, concept: str, split: Split) -> str | None:
        if split != "held-out pairs" and generator.random() >= self.material_share:
            return None
        return str(generator.choice(self._materials_of(concept, split)))

    def _layout(
        self, generator: np.random.Generator, objects: list[tuple[str, str | None, str]]
    ) -> list[Box]:
        """Place boxes one by one; an object that finds no place starts the layout again."""
        width, height = self.size
        low, high = self.sides
        high = min(high, 1.3 / len(objects) ** 0.5 * 0.75)
        boxes: list[Box] = []
        tries = 0
        while len(boxes) < len(objects):
            concept, _, style = objects[len(boxes)]
            rows, columns = sprite(concept, style).shape[:2]
            side = generator.uniform(low, max(low, high))
            aspect = columns / rows * generator.uniform(0.85, 1.18)
            w, h = (side, side / aspect) if aspect > 1 else (side * aspect, side)
            w, h = max(w, low * 0.75), max(h, low * 0.75)
            x, y = generator.uniform(0, 1 - w), generator.uniform(0, 1 - h)
            box = (
                round(x * width) / width,
                round(y * height) / height,
                round((x + w) * width) / width,
                round((y + h) * height) / height,
            )
            if all(_cover(box, other) <= self.overlap for other in boxes):
                boxes.append(box)
            tries += 1
            if tries % PLACEMENT_TRIES == 0:
                boxes = []
        return boxes


def is_held_out_layout(boxes: list[Box]) -> bool:
    """Whether training never sees objects centred in just these cells of the canvas."""
    cells = sorted(
        (int((x0 + x1) / 2 * LAYOUT_GRID), int((y0 + y1) / 2 * LAYOUT_GRID))
        for x0, y0, x1, y1 in boxes
    )
    return len(boxes) > 1 and zlib.crc32(f"layout:{cells}".encode()) % 6 == 0


def _cover(a: Box, b: Box) -> float:
    """The share of the smaller box that the other covers."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(0.0, w) * max(0.0, h) / smaller


_SMALL_CONCEPTS = tuple(CONCEPTS)[:48]

PRESETS: Final[dict[str, World]] = {
    "small": World(
        concepts=_SMALL_CONCEPTS,
        styles=("flat",),
        materials=MATERIALS[:6],
        backgrounds=tuple(BACKGROUNDS)[:6],
        counts=(0.4, 0.3, 0.2, 0.1),
        sides=(0.34, 0.8),
        overlap=0.05,
        material_share=0.6,
        mirrored_share=0.0,
        size=(128, 128),
    ),
    # Where things overlap, and one concept may occur twice: to tell objects apart.
    "crowd": World(
        concepts=_SMALL_CONCEPTS,
        styles=("flat",),
        materials=MATERIALS[:6],
        backgrounds=tuple(BACKGROUNDS)[:6],
        counts=(0.2, 0.3, 0.25, 0.15, 0.1),
        sides=(0.25, 0.8),
        overlap=0.3,
        material_share=0.6,
        mirrored_share=0.5,
        size=(128, 128),
        repeat_share=0.35,
    ),
    "full": World(
        concepts=tuple(CONCEPTS),
        styles=STYLES,
        materials=MATERIALS,
        backgrounds=tuple(BACKGROUNDS),
        counts=(0.25, 0.25, 0.2, 0.15, 0.1, 0.05),
        sides=(0.2, 0.8),
        overlap=0.3,
        material_share=0.6,
        mirrored_share=0.5,
        size=(256, 256),
    ),
}
