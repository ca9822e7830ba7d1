"""Measure how well a SEEM segments: ``python -m pipelines.evaluate segmentation``."""

import argparse
import json
import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grounding.drops import DROPPED
from grounding.errors import PromptError
from grounding.files import check_writable, write_files
from grounding.stickers.world import PRESETS
from pipelines.console import Parser, guarded, quiet_libraries
from pipelines.evaluate.shared_options import data_options, names
from pipelines.flags import device_flag, offline_flag
from pipelines.generation.options import whole

if TYPE_CHECKING:
    from seem.evaluation.sample import Source
    from seem.evaluation.tasks import Task
    from seem.predictor import Predictor

__all__ = ["main", "measure"]

PROG = "lavallama evaluate segmentation"
TASKS = ("clicks", "box", "scribble", "mask", "phrase", "panoptic", "reference", "video")
WORDY = ("phrase", "panoptic")
DIGITS = 4  # of the numbers in report.json

_DESCRIPTION = """\
Measure a SEEM, and print a report in Markdown and one line of JSON.

  clicks     clicks that correct each other: NoC@85, NoC@90, IoU after each
  box        the box around each object
  scribble   a line along its middle
  mask       a rough mask of it
  phrase     words: one mask a phrase; all instances of a text
  panoptic   the classes of the data: PQ, mask mAP, mIoU
  reference  another image that shows such a thing
  video      objects of films, shown on the first frame by mask or click: J and F

The data is the sticker world's held-out scenes, or a folder, known by its files: panoptic*.json or
instances*.json of COCO, phrases*.json, refs*.json of RefCOCO, ImageSets/2017/val.txt of DAVIS. With
--films it is a short film made of each image: a camera moves over it, and its surface bends.
"""

_EXAMPLE = """\
examples:
  lavallama evaluate segmentation --scenes 20
  lavallama evaluate segmentation --data coco --tasks clicks,panoptic --limit 100 --out runs/coco
  lavallama evaluate segmentation --data coco/annotations/panoptic_val2017.json --films --limit 20
"""

log = logging.getLogger(__name__)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, usage=f"{PROG} [options]", description=_DESCRIPTION, epilog=_EXAMPLE)
    group = parser.add_argument_group("with which model")
    group.add_argument(
        "--model",
        metavar="PATH|ID",
        default="embedded",
        help="embedded, a folder of ours, an official .pt file, a short name or a hub id "
        "(default: embedded)",
    )
    device_flag(group)
    offline_flag(group)
    group = parser.add_argument_group("on what")
    data_options(
        group, "stickers, or a folder, or one of its files", "images, or films, of a folder"
    )
    group.add_argument(
        "--films", action="store_true", help="made of the images, to follow their segments in"
    )
    group.add_argument(
        "--split", metavar="NAME", default="val", help="of RefCOCO's references (default: val)"
    )
    group = parser.add_argument_group("what to measure")
    group.add_argument(
        "--tasks",
        metavar="NAMES",
        type=names,
        help="those above, with commas (default: what the data has; of COCO the first four)",
    )
    group.add_argument(
        "--classes",
        metavar="NAMES",
        type=names,
        help="for panoptic: the classes that the model is told, some of the data's, with commas; "
        "the others become void (default: all)",
    )
    group = parser.add_argument_group("where to")
    group.add_argument("--out", metavar="DIR", type=Path, help="for report.md and report.json")
    group.add_argument(
        "--pictures",
        metavar="N",
        type=whole(0, 10_000),
        default=0,
        help="also DIR/pictures: the truth and the answers after 1 and 5 clicks, of N images",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return guarded(PROG, lambda: _evaluate(arguments))


def _evaluate(arguments: argparse.Namespace) -> int:
    out: Path | None = arguments.out
    if arguments.pictures and out is None:
        raise PromptError("--pictures needs a place: say --out DIR too")
    if out is not None:
        check_writable([out / "report.md", out / "report.json"])
    quiet_libraries()
    from pipelines.evaluate.segmentation_data import open_source
    from pipelines.evaluate.segmentation_report import report
    from pipelines.segmentation.segmenter import open_predictor
    from seem.evaluation.warped_source import warped_source

    source = open_source(
        arguments.data,
        world=PRESETS[arguments.preset],
        scenes=arguments.scenes,
        split=arguments.split,
        limit=arguments.limit,
    )
    if arguments.films:
        source = warped_source(source)
    tasks = _chosen(arguments.tasks, source)
    if arguments.pictures and tasks == ("video",):
        raise PromptError("--pictures shows clicks on images; leave it out for films")
    if arguments.classes:
        source = source.with_classes(arguments.classes)
    if arguments.strict:
        for _ in chain(source.samples(), source.clips() if "video" in tasks else ()):
            pass  # what is dropped is told as they are read
        source.drops.refuse(arguments.data)
        source.left_out.clear()
    predictor = open_predictor(arguments.model, device=arguments.device, offline=arguments.offline)
    if predictor.words.tokenizer is None:
        tasks = _without_words(tasks, source, asked=arguments.tasks is not None)
    measured, pictures = measure(predictor, source, tasks, pictures=arguments.pictures)
    results = {"model": str(arguments.model), "data": source.what, **measured}
    if out is not None:
        text = json.dumps(results, indent=1) + "\n"
        files = {out / "report.md": report(results).encode(), out / "report.json": text.encode()}
        files |= {out / "pictures" / f"{name}.png": png for name, png in pictures.items()}
        write_files(files)
        source.drops.write(out / DROPPED)
    print(report(results))
    print(json.dumps(results))
    return 0


def _without_words(tasks: tuple[str, ...], source: "Source", *, asked: bool) -> tuple[str, ...]:
    """The tasks that a model without a tokenizer can be asked; the others are told.

    Raises:
        PromptError: others were asked for.
    """
    said = ", ".join(task for task in tasks if task in WORDY)
    if not said:
        return tasks
    if asked:
        raise PromptError(f"--tasks {said}: the model has no tokenizer; leave out what has words")
    log.warning("not measured, since the model has no tokenizer: %s", said)
    source.left_out[f"tasks in words ({said})"] = said.count(",") + 1
    return tuple(task for task in tasks if task not in WORDY)


def _chosen(asked: tuple[str, ...] | None, source: "Source") -> tuple[str, ...]:
    """The tasks, in the order of the report."""
    if asked is None:
        return source.usual
    for name in asked:
        if name not in TASKS:
            raise PromptError(f"--tasks: there is no {name!r:.40}; choose from {', '.join(TASKS)}")
        if name not in source.tasks:
            raise PromptError(
                f"--tasks: {source.what} has nothing for {name!r}; it has {', '.join(source.tasks)}"
            )
    return tuple(name for name in TASKS if name in asked)


def measure(
    predictor: "Predictor", source: "Source", tasks: Sequence[str], *, pictures: int = 0
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Ask a predictor everything about every sample, each image encoded once.

    Args:
        predictor: Ready for questions.
        source: What to measure on.
        tasks: Names of `TASKS`.
        pictures: How many samples to draw.

    Returns:
        What was measured, by task, with "left_out"; PNGs by name.

    Raises:
        PromptError: nothing was.
    """
    from tqdm import tqdm

    from pipelines.evaluate.segmentation_pictures import click_panels
    from seem.evaluation.tasks import objects
    from seem.evaluation.video_task import VideoTask

    asked = {name: _task(name, source) for name in tasks if name != "video"}
    drawn: dict[str, bytes] = {}
    if asked:
        for sample in tqdm(source.samples(), "images", source.count, disable=None):
            predictor.set_image(sample.image)
            for task in asked.values():
                task.add(predictor, sample)
            if len(drawn) < pictures and objects(sample):
                drawn[sample.name] = click_panels(predictor, sample, source.classes)
    results: dict[str, Any] = {name: task.result() for name, task in asked.items()}
    films = VideoTask()
    if "video" in tasks:
        for clip in tqdm(source.clips(), "films", source.clip_count, disable=None):
            films.add(predictor, clip)
        results["video"] = films.result()
    left_out = source.left_out | source.drops.counts()
    if films.left_out:
        left_out["films without an object, or with fewer than 3 annotated frames"] = films.left_out
    empty = [name for name, result in results.items() if _is_empty(result)]
    if len(empty) == len(results):
        why = ", ".join(f"{count} {what}" for what, count in left_out.items()) or "nothing"
        raise PromptError(
            f"{source.what}: there is nothing to measure of {', '.join(tasks)}; left out: {why}"
        )
    for name in empty:
        del results[name]
        left_out[f"tasks without anything to measure ({name})"] = 1
    return {**_rounded(results), "left_out": left_out}, drawn


def _is_empty(result: Any) -> bool:
    """Whether a task has measured nothing."""
    if isinstance(result, dict):
        count = result.get("images", result.get("films"))
        return count == 0 or all(map(_is_empty, result.values()))
    return False


def _task(name: str, source: "Source") -> "Task":
    from seem.evaluation.tasks import (
        ClickTask,
        MarkTask,
        PanopticTask,
        PhraseTask,
        ReferenceTask,
    )

    if name == "clicks":
        return ClickTask()
    if name == "phrase":
        return PhraseTask()
    if name == "panoptic":
        return PanopticTask(source.classes, source.things)
    return ReferenceTask() if name == "reference" else MarkTask(name)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, DIGITS) if isinstance(value, float) else value
