"""Measure the models on what they were not trained on: ``python -m pipelines.evaluate TASK``."""

from collections.abc import Sequence

from pipelines.dispatch import dispatch

__all__ = ["main"]

# name: (module with `main(argv) -> int`, what it measures)
TASKS = {
    "grounding": ("pipelines.evaluate.grounding", "how well pictures follow their boxes"),
    "segmentation": (
        "pipelines.evaluate.segmentation",
        "clicks, boxes, scribbles, words, references, panoptic maps, video",
    ),
    "chat": ("pipelines.evaluate.chat", "questions about pictures, boxes, captions, layouts"),
    "zero-shot": ("pipelines.evaluate.zero_shot", "labels for stickers, without training"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to a task; returns the exit code."""
    return dispatch(
        argv,
        TASKS,
        prog="lavallama evaluate",
        noun="task",
        description="Measure a model on held-out scenes of the sticker world, or on your own data.",
    )
