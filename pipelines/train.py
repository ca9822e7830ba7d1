"""Train the embedded models, stage by stage: ``python -m pipelines.train STAGE``.

The stages are those of `pipelines.training.workshop`; each goes on where it stopped.
"""

import argparse
import dataclasses
import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.console import Parser, guarded, quiet_libraries
from pipelines.training.workshop import STAGES, Workshop

if TYPE_CHECKING:
    from grounding.loop import LoopConfig

__all__ = ["main"]

PROG = "lavallama train"
EMBEDDED = Path(__file__).parent.parent / "weights" / "embedded"
MODELS = {  # whose trainers are commands of their own
    "gligen": "pipelines.training.gligen.command",
    "seem": "pipelines.training.seem",
    "llava": "pipelines.training.llava.command",
}


def _parser() -> argparse.ArgumentParser:
    stages = "\n".join(f"  {name:8} {what}" for name, (_, what) in STAGES.items())
    parser = Parser(
        prog=PROG,
        usage="lavallama train STAGE [options] | lavallama train gligen|seem|llava [options]",
        description="Train the embedded models of the sticker world, stage by stage.",
        epilog=(
            f"stages:\n{stages}\n  export   write the finished models to --out\n\n"
            "`lavallama train gligen --help` tells how an adapter is trained on your pictures,\n"
            "`lavallama train seem --help` how the segmentation model is,\n"
            "`lavallama train llava --help` how the chat model is, and any LLaVA."
        ),
    )
    parser.add_argument("stage", choices=[*STAGES, "export"], metavar="STAGE", help="see below")
    parser.add_argument(
        "--recipe", default="small", help="small (CPU) or full (GPU); default small"
    )
    parser.add_argument("--runs", type=Path, help="the recipe's folder; default runs/RECIPE")
    parser.add_argument("--scenes", type=int, help="training scenes; default: the recipe's")
    parser.add_argument("--steps", type=int, help="steps of the stage; default: the recipe's")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; default cpu")
    parser.add_argument("--out", type=Path, default=EMBEDDED, help="where export writes")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given and given[0] in MODELS:
        return importlib.import_module(MODELS[given[0]]).main(given[1:])
    arguments = _parser().parse_args(given)
    return guarded(PROG, lambda: _train(arguments))


def _train(arguments: argparse.Namespace) -> int:
    quiet_libraries()
    logging.getLogger("gligen").setLevel(logging.INFO)

    from gligen.train.recipes import RECIPES
    from grounding.errors import LavallamaError

    if arguments.recipe not in RECIPES:
        raise LavallamaError(f"no recipe {arguments.recipe!r}; choose from {', '.join(RECIPES)}")
    recipe = RECIPES[arguments.recipe]
    if arguments.scenes is not None:
        if arguments.scenes < 16:
            raise LavallamaError(f"--scenes must be at least 16; got {arguments.scenes}")
        recipe = dataclasses.replace(recipe, scenes=arguments.scenes)
    if arguments.steps is not None and arguments.stage in STAGES:
        if arguments.steps < 1:
            raise LavallamaError(f"--steps must be at least 1; got {arguments.steps}")
        loop: LoopConfig = getattr(recipe, arguments.stage)
        shorter = dataclasses.replace(loop, steps=arguments.steps)
        recipe = dataclasses.replace(recipe, **{arguments.stage: shorter})
    workshop = Workshop(recipe, arguments.runs or Path("runs") / recipe.preset, arguments.device)
    if arguments.stage == "export":
        workshop.export(arguments.out)
    else:
        STAGES[arguments.stage][0](workshop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
