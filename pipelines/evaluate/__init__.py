"""Measure the models on what they were not trained on: ``python -m pipelines.evaluate TASK``."""

import importlib
import sys
from collections.abc import Sequence

from pipelines.console import Parser

__all__ = ["main"]

# name: (module with `main(argv) -> int`, what it measures)
TASKS = {
    "grounding": ("pipelines.evaluate.grounding", "how well pictures follow their boxes"),
    "segmentation": (
        "pipelines.evaluate.segmentation",
        "clicks, boxes, scribbles, words, references, panoptic maps, video",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Dispatch to a task, importing only that one.

    Args:
        argv: the arguments after the program's name; default those of the process.

    Returns:
        The exit code: 0, or 2 after a one-line error.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    width = max(map(len, TASKS))
    table = "\n".join(f"  {name:{width}}  {what}" for name, (_, what) in TASKS.items())
    parser = Parser(
        prog="lavallama evaluate",
        usage="lavallama evaluate TASK [options]",
        description="Measure a model on held-out scenes of the sticker world, or on your own data.",
        epilog=f"tasks:\n{table}\n\n`lavallama evaluate TASK --help` lists a task's options.",
    )
    if not arguments:
        parser.print_help()
        return 0
    task, *rest = arguments
    if task.startswith("-"):
        parser.parse_args(arguments)
    if task not in TASKS:
        parser.error(f"no task {task!r}: choose from {', '.join(TASKS)}")
    module = importlib.import_module(TASKS[task][0])
    return module.main(rest)
