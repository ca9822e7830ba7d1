"""Composites rendered once by worker processes, in memory maps.

python -m grounding.composites.store FOLDER --art ART --count 4000
"""

import argparse
import functools
import logging
from pathlib import Path

import numpy as np

from grounding.composites.art import gather_art
from grounding.composites.scene import SIZE, render_composite
from grounding.stickers.store import Drawn, Store, open_store

__all__ = ["open_composites"]

NICENESS = 5  # of the workers: training goes first


def open_composites(
    folder: Path,
    art: Path,
    count: int,
    *,
    size: int = SIZE,
    seed: int = 0,
    workers: int | None = None,
) -> Store:
    """Open composites, rendering first those that are not there yet.

    Args:
        folder: Of these composites alone.
        art: Folder of `art.gather_art`.
        count: How many.
        size: Pixels a side.
        seed: Of all of them; picture i is the same whatever the count.
        workers: Processes that render; None: one for each processor.

    Returns:
        "images" uint8 [count, size, size, 3] and "ids" uint8 [count, size, size]; and of each
        `{"segments": [{"leaves": [1, 2], "kind": "thing", "source": "art/17/0"}, ...]}`.

    Raises:
        OfflineError: art cannot be downloaded.
        OutputError: there is no room.
    """
    gather_art(art)
    shapes = {"images": (size, size, 3), "ids": (size, size)}
    draw = functools.partial(_draw, art, size, seed)
    return open_store(folder, shapes, count, draw, workers=workers, niceness=NICENESS)


def _draw(art: Path, size: int, seed: int, number: int) -> Drawn:
    composite = render_composite(gather_art(art), np.random.default_rng([seed, number]), size)
    record = {"segments": [segment.as_json() for segment in composite.segments]}
    return {"images": composite.image, "ids": composite.ids}, record


def main() -> None:
    """Render composites into a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--art", type=Path, required=True, help="folder of the art")
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _, records = open_composites(
        given.folder,
        given.art,
        given.count,
        size=given.size,
        seed=given.seed,
        workers=given.workers,
    )
    print(f"{len(records)} composites in {given.folder}")


if __name__ == "__main__":
    main()
