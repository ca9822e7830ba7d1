"""One annotator, or many: in this process, in several on this machine, or on a Ray cluster.

A picture's annotation depends on nothing but the picture and the settings, so it does not matter
who makes it. Processes compute with one thread each: sums in another order are other sums.
"""

import importlib
import importlib.util
import json
import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from grounding.errors import LavallamaError
from pipelines.annotate.raw import Raw
from pipelines.annotate.settings import Settings

__all__ = ["annotations", "ray_annotations"]

AHEAD = 4  # pictures a process that are handed out and not yet back

Annotation = tuple[Raw, dict[str, Any]]


def annotations(raws: Sequence[Raw], settings: Settings, workers: int = 1) -> Iterator[Annotation]:
    """Annotate pictures on this machine, in order.

    Args:
        raws: Pictures.
        settings: How.
        workers: Processes.

    Raises:
        LavallamaError: a model cannot be had or asked, or a process died.
    """
    if not raws:
        return
    if workers == 1:
        yield from _here(raws, settings)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_open, initargs=(settings,)) as pool:
        try:
            waiting: deque[tuple[Raw, Any]] = deque()
            for raw in raws:
                waiting.append((raw, pool.submit(_annotate, raw)))
                if len(waiting) >= AHEAD * workers:
                    yield _next(waiting)
            while waiting:
                yield _next(waiting)
        except BrokenProcessPool:
            raise LavallamaError(
                "a worker ended before its work was done (out of memory, perhaps); run the same "
                "command again, with fewer --workers: it goes on where it stopped"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def ray_annotations(
    raws: Sequence[Raw], settings: Settings, workers: int = 1
) -> Iterator[Annotation]:
    """Annotate pictures on a Ray cluster, or on this machine as one; in any order.

    The folder of pictures must be reachable by the same path from every machine.

    Args:
        raws: Pictures.
        settings: How.
        workers: Annotators at once.

    Raises:
        LavallamaError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise LavallamaError('--ray needs Ray, which is not installed; pip install -e ".[cluster]"')
    if not raws:
        return
    ray: Any = importlib.import_module("ray")
    data: Any = importlib.import_module("ray.data")
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False, logging_level="error")
    data.DataContext.get_current().enable_progress_bars = False
    rows = [{"place": place, "path": str(raw.path.resolve())} for place, raw in enumerate(raws)]
    for row, raw in zip(rows, raws, strict=True):
        row |= {"name": raw.name, "captions": list(raw.captions), "problem": raw.problem or ""}
    done = data.from_items(rows).map(
        _RayAnnotator, fn_constructor_args=(settings,), concurrency=workers
    )
    for row in done.iter_rows():
        yield raws[row["place"]], json.loads(row["annotation"])


class _RayAnnotator:
    """An annotator that lives on a node of the cluster."""

    def __init__(self, settings: Settings) -> None:
        _open(settings)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        raw = Raw(
            name=row["name"],
            path=Path(row["path"]),
            captions=tuple(map(str, row["captions"])),
            problem=row["problem"] or None,
        )
        return {"place": row["place"], "annotation": json.dumps(_annotate(raw))}


def _here(raws: Iterable[Raw], settings: Settings) -> Iterator[Annotation]:
    import torch

    from pipelines.annotate.annotator import open_annotator

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        annotator = open_annotator(settings)
        for raw in raws:
            yield raw, annotator(raw)
    finally:
        torch.set_num_threads(threads)


_OPEN: list[Any] = []  # the annotator of a worker's process


def _open(settings: Settings) -> None:
    import torch

    from pipelines.annotate.annotator import open_annotator

    torch.set_num_threads(1)
    _OPEN[:] = [open_annotator(settings)]


def _annotate(raw: Raw) -> dict[str, Any]:
    return _OPEN[0](raw)


def _next(waiting: deque[tuple[Raw, Any]]) -> Annotation:
    raw, future = waiting.popleft()
    return raw, future.result()
