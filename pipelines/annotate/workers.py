"""One annotator, or many: in this process, in several on this machine, or on a Ray cluster.

A picture's annotation depends on nothing but the picture and the settings, so it does not matter
who makes it. Processes compute with one thread each: sums in another order are other sums.
"""

import importlib
import importlib.util
import json
import multiprocessing
import os
import threading
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
    with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
        try:
            waiting: deque[tuple[Raw, Any]] = deque()
            for raw in raws:
                waiting.append((raw, pool.submit(_annotate, raw, settings)))
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
    rows = [{"place": place, "raw": json.dumps(_told(raw))} for place, raw in enumerate(raws)]
    done = data.from_items(rows).map(
        _RayAnnotator, fn_constructor_args=(settings,), concurrency=workers
    )
    for row in done.iter_rows():
        yield raws[row["place"]], json.loads(row["annotation"])


class _RayAnnotator:
    """An annotator that lives on a node of the cluster."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        told = json.loads(row["raw"])
        raw = Raw(
            name=told["name"],
            path=Path(told["path"]),
            captions=tuple(told["captions"]),
            problem=told["problem"],
        )
        return {"place": row["place"], "annotation": json.dumps(_annotate(raw, self.settings))}


def _told(raw: Raw) -> dict[str, Any]:
    """A picture, for another machine."""
    told = {"name": raw.name, "captions": raw.captions, "problem": raw.problem}
    return told | {"path": os.path.realpath(raw.path)}


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


def _end_with_parent() -> None:
    """End this process when the one that started it does, even if that is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker was started by somebody"
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _annotate(raw: Raw, settings: Settings) -> dict[str, Any]:
    """Annotate with this process's annotator, which is opened for the first picture."""
    if not _OPEN:
        import torch

        from pipelines.annotate.annotator import open_annotator

        torch.set_num_threads(1)
        _OPEN.append(open_annotator(settings))
    return _OPEN[0](raw)


def _next(waiting: deque[tuple[Raw, Any]]) -> Annotation:
    raw, future = waiting.popleft()
    return raw, future.result()
