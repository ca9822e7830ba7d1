"""Measure how well pictures follow their boxes: ``python -m pipelines.evaluate grounding``.

Layouts are requested, drawn, and looked at: by the sticker judge, a classifier that has only ever
seen rendered crops, inside each box; by a detector, anywhere. The true pictures, where there are
any, are the ceiling, and the same base without gates is the floor.
"""

import argparse
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grounding.drops import DROPPED
from grounding.errors import PromptError
from grounding.files import check_writable, write_files
from grounding.stickers.world import PRESETS, World
from pipelines.console import guarded, quiet_libraries
from pipelines.evaluate.grounding_options import PICTURES, PROG, TASKS, grounding_options

if TYPE_CHECKING:
    from gligen.evaluation.detection import Detector
    from gligen.evaluation.frechet import FrechetDistance
    from gligen.evaluation.layout import Layout, LayoutSet
    from grounding.stickers.judge import StickerJudge
    from pipelines.evaluate.grounding_measures import Task
    from pipelines.evaluate.grounding_pictures import Tile
    from pipelines.generation.generator import Generator

__all__ = ["Bench", "main"]

STICKER_TASKS = ("judge", "counting", "attribute", "spatial", "negation")
PROMPT_TASKS = STICKER_TASKS[1:]
WITHOUT_DETECTOR = ("judge", "extent", "fid")
PROMPTS = 3  # scenes for each prompt of a task
PLAIN = 6  # scenes for each object on a plain background
CHUNK = 8  # batches requested at a time, so that pictures of large sets do not pile up
DIGITS = 4  # of the numbers in report.json

Draw = Callable[["LayoutSet"], Iterator[tuple["Layout", np.ndarray]]]

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Bench:
    """Everything that pictures are measured with.

    Attributes:
        parts: Tasks by the set of layouts they are measured on; the name of each set.
        detector: None: no task needs one.
        judge: None: no task needs it.
        distance: None: FID is not measured.
        pictures: Layouts on each contact sheet.
    """

    parts: dict[str, tuple["LayoutSet", tuple[str, ...]]]
    detector: "Detector | None" = None
    judge: "StickerJudge | None" = None
    distance: "FrechetDistance | None" = None
    pictures: int = 0
    _sheets: dict[str, dict[str, tuple["Layout", dict[str, "Tile"]]]] = field(
        init=False, default_factory=lambda: defaultdict(dict)
    )

    def measure(self, row: str, draw: Draw) -> dict[str, Any]:
        """Measure the pictures of one generator.

        Args:
            row: Their key in the results: "true", "gated" or "floor".
            draw: Yields each layout of a set with its picture, uint8 [H, W, 3].

        Returns:
            What each task measured, by its name.
        """
        from tqdm import tqdm

        from pipelines.evaluate.grounding_measures import Seen

        results: dict[str, Any] = {}
        total = sum(layouts.count for layouts, _ in self.parts.values())
        with tqdm(total=total, desc=row, disable=None) as bar:
            for name, (layouts, names) in self.parts.items():
                tasks = {task: self._task(task, layouts, row) for task in names}
                tasks = {task: one for task, one in tasks.items() if one is not None}
                for layout, image in draw(layouts):
                    seen = Seen(layout, image, self.detector)
                    for task in tasks.values():
                        task.add(seen)
                    self._keep(name, row, seen)
                    bar.update()
                results |= {task: one.result() for task, one in tasks.items()}
        return _rounded(results)

    def sheets(self) -> dict[str, bytes]:
        """The contact sheets of all that was measured, as PNGs by the names of the sets."""
        from pipelines.evaluate.grounding_pictures import contact_sheet
        from pipelines.evaluate.grounding_report import LABELS

        return {
            name: contact_sheet(
                [(layout.document, tiles) for layout, tiles in lines.values()], LABELS
            )
            for name, lines in self._sheets.items()
        }

    def _task(self, task: str, layouts: "LayoutSet", row: str) -> "Task | None":
        """A task that has seen nothing yet; None for FID of the true pictures."""
        from pipelines.evaluate import grounding_measures as measures

        if task == "fid":
            if row == "true" or self.distance is None:
                return None
            return measures.FrechetTask(self.distance, true=not self.distance.true)
        if task == "judge":
            assert self.judge is not None, "who plans this task opens the judge"
            return measures.JudgeTask(self.judge)
        if task == "extent":
            return measures.ExtentTask()
        if task == "ap":
            assert self.detector is not None, "who plans this task opens the detector"
            return measures.PrecisionTask(layouts, self.detector)
        if task == "instances":
            return measures.InstanceTask(layouts.attributes)
        return measures.ClaimTask()

    def _keep(self, name: str, row: str, seen: Any) -> None:
        """Put a picture on its contact sheet, while there is room."""
        sheet = self._sheets[name] if self.pictures else {}
        if seen.layout.name not in sheet and len(sheet) >= self.pictures:
            return
        found = seen.found if self.detector is not None and name != "plain" else []
        sheet.setdefault(seen.layout.name, (seen.layout, {}))[1][row] = (seen.image, found)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task; returns the exit code."""
    arguments = grounding_options().parse_args(argv)
    return guarded(PROG, lambda: _evaluate(arguments))


def _evaluate(arguments: argparse.Namespace) -> int:
    out: Path | None = arguments.out
    if arguments.pictures and out is None:
        raise PromptError("--pictures needs a place: say --out DIR too")
    if out is not None:
        check_writable([out / "report.md", out / "report.json", out / "pictures" / "layouts.png"])
    quiet_libraries()
    from pipelines.evaluate.grounding_data import open_layouts
    from pipelines.evaluate.grounding_report import report

    world = PRESETS[arguments.preset]
    layouts = open_layouts(
        arguments.data, world=world, scenes=arguments.scenes, limit=arguments.limit
    )
    if arguments.strict:
        layouts.drops.refuse(arguments.data)
    bench, left_out = _bench(arguments, layouts, world)
    results: dict[str, Any] = {
        "model": str(arguments.model),
        "adapter": arguments.adapter,
        "isolate": arguments.isolate,
        "data": layouts.what,
        "detector": bench.detector
        and {"name": bench.detector.name, "threshold": bench.detector.threshold},
        **_rows(arguments, bench),
        "left_out": dict(layouts.left_out) | left_out | layouts.drops.counts(),
    }
    sheets = {f"pictures/{name}.png": png for name, png in bench.sheets().items()}
    text = report(results, list(sheets))
    if out is not None:
        files = {out / "report.md": text.encode()}
        files[out / "report.json"] = (json.dumps(results, indent=1) + "\n").encode()
        write_files(files | {out / name: png for name, png in sheets.items()})
        layouts.drops.write(out / DROPPED)
    print(report(results))
    print(json.dumps(results))
    return 0


def _bench(
    arguments: argparse.Namespace, layouts: "LayoutSet", world: World
) -> tuple[Bench, dict[str, int]]:
    """Open all that the tasks need; what they leave out, and how much of it."""
    from gligen.evaluation.frechet import open_frechet
    from gligen.evaluation.prompt_tasks import prompt_task
    from gligen.evaluation.sticker_layouts import plain_layouts
    from grounding.stickers.judge import StickerJudge
    from pipelines.device import choose_device
    from pipelines.evaluate.grounding_data import STICKERS
    from pipelines.evaluate.grounding_detectors import open_detector

    stickers = arguments.data == STICKERS
    tasks = _chosen(arguments, stickers=stickers)
    bench, left_out = Bench(parts={}), {}
    if "fid" in tasks:
        if not layouts.has_truth:
            raise PromptError("FID needs the true pictures; put them beside the boxes, or leave it")
        weights = Path(arguments.fid) if arguments.fid else None
        device = choose_device(arguments.device)
        bench.distance = open_frechet(weights, device=device, offline=arguments.offline)
    if "judge" in tasks:
        bench.judge = StickerJudge.from_pretrained(arguments.judge)
    if set(tasks) - set(WITHOUT_DETECTOR):
        bench.detector = open_detector(
            arguments.detector or ("judge" if stickers else "seem"),
            judge=arguments.judge,
            threshold=arguments.threshold,
            device=arguments.device,
            offline=arguments.offline,
        )
        tasks, left_out = _possible(arguments, tasks, layouts, bench.detector)
    on_layouts = tuple(task for task in tasks if task not in PROMPT_TASKS)
    if on_layouts:
        bench.parts["layouts"] = layouts, on_layouts
    if "judge" in tasks:
        plain = plain_layouts(world, max(1, arguments.scenes // PLAIN))
        bench.parts["plain"] = plain, ("extent",)
    for task in PROMPT_TASKS:
        if task in tasks:
            prompts = max(1, arguments.scenes // PROMPTS)
            bench.parts[task] = prompt_task(task, world, prompts), (task,)
    if arguments.out is not None:
        bench.pictures = PICTURES if arguments.pictures is None else arguments.pictures
    return bench, left_out


def _chosen(arguments: argparse.Namespace, *, stickers: bool) -> tuple[str, ...]:
    """The tasks, in the order of the report."""
    possible = [task for task in TASKS if stickers or task not in STICKER_TASKS]
    if arguments.tasks is None:
        chosen = {task for task in possible if task != "fid"}
    else:
        chosen = set(arguments.tasks)
        for name in arguments.tasks:
            if name not in TASKS:
                known = ", ".join(TASKS)
                raise PromptError(f"--tasks: there is no {name!r:.40}; choose from {known}")
            if name not in possible:
                raise PromptError(
                    f"--tasks: {name} is for the sticker world; of {arguments.data} can be "
                    f"measured: {', '.join(possible)}"
                )
    if arguments.fid is not None:
        chosen.add("fid")
    return tuple(task for task in TASKS if task in chosen)


def _possible(
    arguments: argparse.Namespace,
    tasks: tuple[str, ...],
    layouts: "LayoutSet",
    detector: "Detector",
) -> tuple[tuple[str, ...], dict[str, int]]:
    """The tasks that the detector can do, and what it cannot.

    Raises:
        PromptError: it knows nothing that is asked for, or not what `--tasks` names.
    """
    left_out: dict[str, int] = {}
    unknown = [name for name in layouts.classes if not detector.knows(name)]
    if len(unknown) == len(layouts.classes):
        raise PromptError(
            f"the detector {detector.name} knows nothing of the data, such as {unknown[0]!r:.60}; "
            "choose another with --detector"
        )
    if unknown:
        named = ", ".join(unknown[:3]) + ", ..." * (len(unknown) > 3)
        left_out[f"classes that the detector does not know ({named})"] = len(unknown)
    if not detector.tells_attributes:
        if arguments.tasks and "attribute" in tasks:
            raise PromptError(
                f"--tasks: the detector {detector.name} tells no attributes; leave out attribute, "
                "or choose another with --detector"
            )
        tasks = tuple(task for task in tasks if task != "attribute")
        if layouts.attributes:
            log.warning("the detector %s tells no attributes: places alone count", detector.name)
            left_out["attributes, which the detector does not tell"] = len(layouts.attributes)
    return tasks, left_out


def _rows(arguments: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    """Measure the true pictures, those with gates, those without."""
    from pipelines.generation.generator import NO_ADAPTER, Generator

    adapters = {"gated": arguments.adapter}
    if arguments.adapter == NO_ADAPTER:
        adapters = {}
    if not arguments.no_floor or not adapters:
        adapters["floor"] = NO_ADAPTER

    def opened(adapter: str | None) -> Generator:
        return Generator.from_pretrained(
            arguments.model,
            adapter,
            device=arguments.device,
            dtype=arguments.dtype,
            offline=arguments.offline,
            vae=arguments.vae,
            text_encoder=arguments.text_encoder,
        )

    results: dict[str, Any] = {}
    generator = opened(next(iter(adapters.values())))  # what cannot be had is said at once
    if all(layouts.has_truth for layouts, _ in bench.parts.values()):
        results["true"] = bench.measure("true", _true_pictures)
    for number, (row, adapter) in enumerate(adapters.items()):
        generator = opened(adapter) if number else generator
        results[row] = bench.measure(row, _drawn_by(generator, arguments))
    return results


def _true_pictures(layouts: "LayoutSet") -> Iterator[tuple["Layout", np.ndarray]]:
    for layout in layouts.layouts():
        assert layout.truth is not None, "asked only of sets that have them"
        yield layout, layout.truth()


def _drawn_by(generator: "Generator", arguments: argparse.Namespace) -> Draw:
    batch: int = arguments.batch

    def draw(layouts: "LayoutSet") -> Iterator[tuple["Layout", np.ndarray]]:
        rest = layouts.layouts()
        while some := list(islice(rest, batch * CHUNK)):
            documents = [layout.document for layout in some]
            drawn = generator.stream(
                documents,
                batch=batch,
                progress=False,
                steps=arguments.steps,
                isolate=arguments.isolate or None,
            )
            for layout, picture in zip(some, drawn, strict=True):
                yield layout, np.asarray(picture.image.convert("RGB"))

    return draw


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, DIGITS) if isinstance(value, float) else value
