"""Scenes rendered once, read many times: images in a memory map, words and boxes beside it."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from grounding.stickers.scene import render
from grounding.stickers.store import Drawn, open_store
from grounding.stickers.world import PRESETS, Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a scene: its caption, background, and each sticker's name and box."""

    caption: str
    background: str
    concepts: tuple[str, ...]
    materials: tuple[str | None, ...]
    boxes: tuple[tuple[float, float, float, float], ...]

    @property
    def phrases(self) -> tuple[str, ...]:
        """Each sticker's phrase, e.g. "lava llama"."""
        return tuple(
            f"{material} {concept}" if material else concept
            for concept, material in zip(self.concepts, self.materials, strict=True)
        )


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Rendered scenes.

    Attributes:
        images: uint8 [N, H, W, 3], a read-only memory map.
        records: N records.
    """

    images: np.ndarray
    records: list[Record]

    def __len__(self) -> int:
        """The number of scenes."""
        return len(self.records)


def rendered(folder: Path, preset: str, count: int, split: Split = "train") -> Scenes:
    """Open a folder of rendered scenes, rendering them first if they are not there yet.

    Args:
        folder: Where the scenes are kept; scenes of each preset, split and count lie apart.
        preset: A key of ``grounding.stickers.PRESETS``.
        count: The number of scenes, of seeds 0 to count - 1.
        split: See ``World.scene``.
    """
    place = folder / f"{preset}-{split.replace(' ', '-')}-{count}"
    width, height = PRESETS[preset].size
    draw = functools.partial(_draw, preset, split)
    arrays, records = open_store(place, {"images": (height, width, 3)}, count, draw)
    return Scenes(arrays["images"], [_record(fields) for fields in records])


def _record(fields: dict[str, Any]) -> Record:
    return Record(
        caption=fields["caption"],
        background=fields["background"],
        concepts=tuple(fields["concepts"]),
        materials=tuple(fields["materials"]),
        boxes=tuple(tuple(box) for box in fields["boxes"]),
    )


def _draw(preset: str, split: Split, seed: int) -> Drawn:
    scene = PRESETS[preset].scene(seed, split)
    result = render(scene)
    record = {
        "caption": scene.caption,
        "background": scene.background,
        "concepts": [s.concept for s in scene.stickers],
        "materials": [s.material for s in scene.stickers],
        "boxes": [[round(float(v), 5) for v in box] for box in result.boxes],
    }
    return {"images": result.image}, record
