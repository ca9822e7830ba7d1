"""Scenes rendered once, read many times: images in a memory map, words and boxes beside it.

Everything is a function of the world, the split and the count, so the folder can be deleted and
made again at any time.
"""

import concurrent.futures
import dataclasses
import json
import logging
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from grounding.stickers.scene import render
from grounding.stickers.world import PRESETS, Split

CHUNK = 500  # scenes that a worker renders in one go

log = logging.getLogger(__name__)


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
    if not (place / "records.jsonl").exists():
        _render_all(place, preset, count, split)
    lines = (place / "records.jsonl").read_text("utf-8").splitlines()
    return Scenes(np.load(place / "images.npy", mmap_mode="r"), [_record(line) for line in lines])


def _record(line: str) -> Record:
    fields = json.loads(line)
    return Record(
        caption=fields["caption"],
        background=fields["background"],
        concepts=tuple(fields["concepts"]),
        materials=tuple(fields["materials"]),
        boxes=tuple(tuple(box) for box in fields["boxes"]),
    )


def _render_all(place: Path, preset: str, count: int, split: Split) -> None:
    log.info("rendering %d scenes of preset %r into %s", count, preset, place)
    place.mkdir(parents=True, exist_ok=True)
    width, height = PRESETS[preset].size
    open_memmap(place / "images.npy", "w+", np.uint8, (count, height, width, 3)).flush()
    unfinished = place / "records.jsonl.part"
    context = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ProcessPoolExecutor(os.cpu_count(), mp_context=context) as workers,
        unfinished.open("w", encoding="utf-8") as out,
    ):
        for lines in workers.map(_render_chunk, _chunks(place, preset, count, split)):
            out.writelines(line + "\n" for line in lines)
    unfinished.replace(place / "records.jsonl")


Chunk = tuple[Path, str, Split, range]


def _chunks(place: Path, preset: str, count: int, split: Split) -> Iterator[Chunk]:
    for start in range(0, count, CHUNK):
        yield place, preset, split, range(start, min(start + CHUNK, count))


def _render_chunk(chunk: Chunk) -> list[str]:
    place, preset, split, seeds = chunk
    images = np.load(place / "images.npy", mmap_mode="r+")
    lines = []
    for seed in seeds:
        scene = PRESETS[preset].scene(seed, split)
        result = render(scene)
        images[seed] = result.image
        fields = {
            "caption": scene.caption,
            "background": scene.background,
            "concepts": [s.concept for s in scene.stickers],
            "materials": [s.material for s in scene.stickers],
            "boxes": [[round(float(v), 5) for v in box] for box in result.boxes],
        }
        lines.append(json.dumps(fields))
    images.flush()
    return lines
