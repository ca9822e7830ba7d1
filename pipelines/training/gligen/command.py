"""Train a GLIGEN adapter on your own pictures: ``python -m pipelines.train gligen``.

Gates, tokenizer, downsampler and the widened first convolution learn; the base does not change,
which is checked. A run keeps everything in its folder and goes on where it stopped; killed at any
moment and started again, it ends with the same bits.
"""

import argparse
import logging
from collections.abc import Sequence

from grounding.errors import LavallamaError
from pipelines.console import guarded, quiet_libraries
from pipelines.training.gligen.options import PROG, train_gligen_parser

__all__ = ["main"]

AT_LEAST_ONE = ("steps", "batch", "accumulate", "save_every", "sample_every", "log_every", "scenes")
SHARES = ("flip", "grounding_dropout", "caption_dropout", "ema")
NOT_NEGATIVE = (
    "learning_rate",
    "warmup",
    "weight_decay",
    "keep",
    "held_out",
    "min_snr",
    "box_weight",
    "teach",
    "field",
    "seed",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, given what follows "gligen"; returns the exit code."""
    options = train_gligen_parser().parse_args(argv)
    return guarded(PROG, lambda: _start(options))


def _start(options: argparse.Namespace) -> int:
    _check(options)
    quiet_libraries()
    for name in ("grounding", "gligen", "pipelines"):
        logging.getLogger(name).setLevel(logging.INFO)
    if options.export:
        from pipelines.training.gligen.export import export

        export(options)
    else:
        from pipelines.training.gligen.run import Run

        Run(options).train()
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse what cannot be.

    Raises:
        LavallamaError: in one line.
    """

    def refuse(names: tuple[str, ...], low: float, high: float, rule: str) -> None:
        for name in names:
            value = getattr(options, name)
            if value is not None and not low <= value <= high:
                raise LavallamaError(f"--{name.replace('_', '-')} must {rule}; got {value}")

    endless = float("inf")
    refuse(AT_LEAST_ONE, 1, endless, "be at least 1")
    refuse(SHARES, 0, 1, "lie between 0 and 1")
    refuse(NOT_NEGATIVE, 0, endless, "not be negative")
    refuse(("max_aspect",), 1, endless, "be at least 1")
    if options.push_to_hub and not options.export:
        raise LavallamaError("--push-to-hub uploads what --export writes; name a folder with it")
    if options.checkpoint not in ("last", "best") and not options.checkpoint.isdigit():
        raise LavallamaError(f"--checkpoint is last, best or a step; got {options.checkpoint!r}")
