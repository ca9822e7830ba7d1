"""Pictures made once by all processors, read many times: arrays in memory maps, words beside them.

Everything is a function of what draws it, so a folder can be deleted and made again at any time. Of
processes that train together the first one makes it, and others that come meanwhile wait for it.
"""

import concurrent.futures
import functools
import json
import logging
import math
import multiprocessing
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from numpy.lib.format import open_memmap
from tqdm import tqdm

from grounding.errors import OutputError
from grounding.files import write_files
from grounding.lock import locked

__all__ = ["Drawn", "Store", "open_store"]

CHUNK = 250  # pictures that a worker makes in one go
RECORDS = "records.jsonl"
log = logging.getLogger(__name__)

Drawn = tuple[Mapping[str, np.ndarray], Mapping[str, Any]]
"""One picture: its part of each array, and what is known of it, as JSON has it."""
Store = tuple[Mapping[str, np.ndarray], list[dict[str, Any]]]
"""All pictures: arrays uint8 [N, ...] as read-only memory maps, and N records."""


def open_store(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    total: int,
    draw: Callable[[int], Drawn],
    *,
    workers: int | None = None,
    niceness: int = 0,
) -> Store:
    """Open a folder of pictures, making first those that are not there yet.

    What a process that was stopped has made of them is kept.

    Args:
        folder: Of these pictures alone.
        shapes: Of one picture's part of each array.
        total: The number of pictures.
        draw: Makes picture number i; other processes must be able to import it.
        workers: Processes that make them; None: one for each processor.
        niceness: How much those give way to other processes, 0 to 19; nothing on Windows.

    Raises:
        OutputError: there is no room for them.
    """
    with PartialState().main_process_first():
        if not (folder / RECORDS).exists():
            with locked(folder, wait=True):
                if not (folder / RECORDS).exists():
                    log.info("rendering %d pictures into %s", total, folder)
                    _draw_all(folder, shapes, total, draw, workers, niceness)
    lines = (folder / RECORDS).read_text("utf-8").splitlines()
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in shapes}
    return arrays, [json.loads(line) for line in lines]


def _draw_all(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    total: int,
    draw: Callable[[int], Drawn],
    workers: int | None,
    niceness: int,
) -> None:
    for name, shape in shapes.items():
        _reserve(folder / f"{name}.npy", (total, *shape))
    chunks = [range(start, min(start + CHUNK, total)) for start in range(0, total, CHUNK)]
    left = [chunk for chunk in chunks if not _lines_path(folder, chunk).exists()]
    work = functools.partial(_draw_chunk, folder, tuple(shapes), draw)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers or os.cpu_count(), context, _give_way, (niceness,)
    ) as pool:
        for _ in tqdm(pool.map(work, left), desc="rendering", total=len(left), disable=None):
            pass
    lines = [_lines_path(folder, chunk) for chunk in chunks]
    write_files({folder / RECORDS: b"".join(path.read_bytes() for path in lines)})
    for path in lines:
        path.unlink()


def _lines_path(folder: Path, chunk: range) -> Path:
    """Where the records of a chunk wait for those of the others."""
    return folder / f"records.{chunk.start}-{chunk.stop}.jsonl"


def _give_way(niceness: int) -> None:
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)


def _reserve(path: Path, shape: tuple[int, ...]) -> None:
    """Make a file for an array, with all its room: a full disk ends who writes into a memory map.

    One that is there already is kept.

    Raises:
        OutputError: there is no room for it.
    """
    if path.exists() and np.load(path, mmap_mode="r").shape == shape:
        return
    try:
        open_memmap(path, "w+", np.uint8, shape).flush()
        if hasattr(os, "posix_fallocate"):  # not on Windows, nor on macOS
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        reason = (error.strerror or str(error)).lower()
        size = f"{math.prod(shape) / 2**20:.0f} MB"
        raise OutputError(f"cannot write {path}: {reason}; it needs {size}") from None


def _draw_chunk(
    folder: Path, names: tuple[str, ...], draw: Callable[[int], Drawn], numbers: range
) -> None:
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in names}
    lines = []
    for number in numbers:
        parts, record = draw(number)
        for name, array in arrays.items():
            array[number] = parts[name]
        lines.append(json.dumps(record))
    for array in arrays.values():
        array.flush()
    write_files({_lines_path(folder, numbers): "".join(f"{line}\n" for line in lines).encode()})
