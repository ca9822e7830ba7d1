"""Scenes to learn from, rendered once and read many times: pictures, whose pixel is whose, names.

Axes: N scenes, H W pixels.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8

from grounding.stickers.collage import make_collage
from grounding.stickers.scene import Rendered, render
from grounding.stickers.store import Drawn, open_store
from grounding.stickers.world import PRESETS

__all__ = ["Lexicon", "Record", "RenderedScenes", "Scenes", "owners", "rendered"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a scene.

    Attributes:
        background: Its name; None: nothing that has a name.
        concepts: What each object shows; None: nothing that has a name.
        materials: What each is made of; None: nothing that has a name.
    """

    background: str | None
    concepts: tuple[str | None, ...]
    materials: tuple[str | None, ...]

    @property
    def phrases(self) -> tuple[str | None, ...]:
        """Each object's name with its material, such as "lava llama"."""
        return tuple(
            f"{material} {concept}" if concept and material else concept
            for concept, material in zip(self.concepts, self.materials, strict=True)
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lexicon:
    """The words of some scenes.

    Attributes:
        concepts: Names of objects.
        materials: What objects may be made of; part of their names.
        backgrounds: Names of what lies behind them.
    """

    concepts: tuple[str, ...]
    materials: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()


class Scenes(Protocol):
    """Pictures to learn from."""

    @property
    def records(self) -> Sequence[Record]:
        """What is known of each."""
        ...

    @property
    def lexicon(self) -> Lexicon:
        """Their words."""
        ...

    def name(self, number: int) -> str:
        """What one is called, in reports."""
        ...

    def read(
        self, number: int, generator: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """A picture, and whose each pixel is: 0 the background's, i + 1 object i's.

        Args:
            number: Of the record.
            generator: Decides which part of a large picture is read. All have one size.
        """
        ...


@dataclasses.dataclass(frozen=True)
class RenderedScenes:
    """Scenes in memory maps: images uint8 [N, H, W, 3], ids uint8 [N, H, W], N records."""

    images: np.ndarray
    ids: np.ndarray
    records: list[Record]
    lexicon: Lexicon

    def name(self, number: int) -> str:
        """Its number: they all lie in one file."""
        return f"scene {number}"

    def read(self, number: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The whole picture."""
        return self.images[number], self.ids[number]


def rendered(folder: Path, preset: str, scenes: int, collages: int) -> RenderedScenes:
    """Open a folder of rendered scenes, rendering them first if they are not there yet.

    Args:
        folder: Where they are kept; those of other arguments lie apart.
        preset: A key of `grounding.stickers.PRESETS`, whose training split is drawn.
        scenes: Scenes of the preset, of seeds 0 to scenes - 1; they come first.
        collages: Collages (`grounding.stickers.collage`), of seeds 0 to collages - 1.
    """
    place = folder / f"{preset}-{scenes}-collages-{collages}"
    world = PRESETS[preset]
    width, height = world.size
    shapes = {"images": (height, width, 3), "ids": (height, width)}
    draw = functools.partial(_draw, preset, scenes)
    arrays, records = open_store(place, shapes, scenes + collages, draw)
    lexicon = Lexicon(
        concepts=world.concepts, materials=world.materials, backgrounds=world.backgrounds
    )
    return RenderedScenes(arrays["images"], arrays["ids"], [_record(r) for r in records], lexicon)


def _record(fields: dict[str, Any]) -> Record:
    return Record(
        background=fields["background"],
        concepts=tuple(fields["concepts"]),
        materials=tuple(fields["materials"]),
    )


def _draw(preset: str, scenes: int, number: int) -> Drawn:
    """Scenes of the preset come first, collages after them."""
    picture, record = (
        _scene(preset, number) if number < scenes else _collage(preset, number - scenes)
    )
    return {"images": picture.image, "ids": owners(picture.masks)}, dataclasses.asdict(record)


def owners(masks: np.ndarray) -> np.ndarray:
    """Whose each pixel is, uint8 [H, W], of masks bool [n, H, W] that do not overlap."""
    numbers = np.arange(1, len(masks) + 1, dtype=np.uint8)[:, None, None]
    return (masks * numbers).sum(0, dtype=np.uint8)


def _scene(preset: str, seed: int) -> tuple[Rendered, Record]:
    scene = PRESETS[preset].scene(seed)
    record = Record(
        background=scene.background,
        concepts=tuple(s.concept for s in scene.stickers),
        materials=tuple(s.material for s in scene.stickers),
    )
    return render(scene), record


def _collage(preset: str, seed: int) -> tuple[Rendered, Record]:
    """A collage; a piece has a name only if it could be the preset's."""
    world = PRESETS[preset]
    collage = make_collage(seed, world.size)
    known = [
        p.concept in world.concepts
        and p.style in world.styles
        and (p.material is None or p.material in world.materials)
        for p in collage.pieces
    ]
    record = Record(
        background=None,
        concepts=tuple(
            p.concept if k else None for p, k in zip(collage.pieces, known, strict=True)
        ),
        materials=tuple(
            p.material if k else None for p, k in zip(collage.pieces, known, strict=True)
        ),
    )
    return collage.rendered, record
