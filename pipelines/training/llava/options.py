"""The options of `lavallama train llava`: read and checked before anything heavy is imported."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipelines.console import Parser
from pipelines.flags import device_flag, offline_flag, strict_flag
from pipelines.generation.options import real, whole

__all__ = ["PROG", "STAGES", "train_llava_options"]

PROG = "lavallama train llava"
RECIPES = ("stickers", "v1-stage1", "v1-stage2", "v1.5-stage1", "v1.5-stage2", "v1.5-lora")
STAGES = ("tower", "words", "align", "stage1", "stage2")
LARGE = 10**9

_EPILOG = """\
The embedded model, all its stages (each goes on where it stopped):
  lavallama train llava
  lavallama train llava --export weights/embedded/llava
LLaVA-1.5 from a CLIP and a language model, in the paper's two stages:
  lavallama train llava --recipe v1.5-stage1 --model vicuna-7b --vision-tower clip-336 \\
    --data blip_laion_cc_sbu_558k.json --images pictures --runs runs/stage1
  lavallama train llava --runs runs/stage1 --export llava-projector
  lavallama train llava --recipe v1.5-lora --model llava-projector --base vicuna-7b \\
    --data llava_v1_5_mix665k.json --images pictures --runs runs/lora
"""


def train_llava_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the options of `lavallama train llava`, given what follows "llava"."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.export is not None and options.recipe is None and options.runs is not None:
        return options  # the run's record tells
    options.recipe = options.recipe or "stickers"
    stickers = options.recipe == "stickers"
    for is_wrong, message in (
        (
            not stickers
            and options.export is None
            and (options.model is None or options.data is None),
            f"the recipe {options.recipe} needs --model and --data",
        ),
        (
            stickers and any((options.model, options.data, options.base, options.vision_tower)),
            "the recipe stickers makes its own model and data: --model, --data, --base and "
            "--vision-tower are for the others",
        ),
        (
            not stickers and (options.stage is not None or options.scenes is not None),
            "--stage and --scenes are for the recipe stickers",
        ),
        (
            options.steps is not None and stickers and options.stage is None,
            "--steps needs --stage with the recipe stickers: each stage has steps of its own",
        ),
        (
            stickers and (options.batch is not None or options.epochs is not None),
            "--batch and --epochs are for the recipes of the papers",
        ),
    ):
        if is_wrong:
            parser.error(message)
    return options


def _parser() -> Parser:
    parser = Parser(
        prog=PROG,
        description="Train a LLaVA: the embedded one on the sticker world, or any on records.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--recipe", choices=RECIPES, help=f"{', '.join(RECIPES)}; default stickers", metavar="NAME")
    add("--runs", type=Path, help="the run's folder; default runs/llava/RECIPE")
    add("--steps", type=whole(1, LARGE), help="default: the recipe's")
    add("--learning-rate", type=real(0, 1), help="at its peak; default: the recipe's")
    device_flag(parser)
    add("--export", type=Path, metavar="DIR", help="write what is trained so far; train nothing")
    group = parser.add_argument_group("the recipe stickers")
    group.add_argument("--stage", choices=STAGES, help="one stage; default: all, in order")
    group.add_argument("--scenes", type=Path, metavar="DIR", help="folder of rendered scenes")
    _papers(parser.add_argument_group("the recipes of the papers"))
    return parser


def _papers(group) -> None:
    add = group.add_argument
    add("--model", help="a LLaVA (folder, name, hub id); with --vision-tower a language model")
    add("--vision-tower", metavar="MODEL", help="a CLIP to put together with the language model")
    add("--base", metavar="MODEL", help="what a projector or LoRA alone is put upon")
    add("--data", type=Path, metavar="FILE", help="records in LLaVA's format: .json or .jsonl")
    add("--images", type=Path, metavar="DIR", default=Path(), help="folder of their pictures")
    add("--batch", type=whole(1, LARGE), help="records in a step; default: the recipe's")
    add("--at-once", type=whole(1, LARGE), default=1, help="of them, read together; default 1")
    add("--epochs", type=whole(1, LARGE), help="default: the recipe's")
    add("--max-tokens", type=whole(8, LARGE), help="of a record; default 2048")
    add("--rank", type=whole(1, LARGE), help="of a LoRA; default: the recipe's")
    add("--save-every", type=whole(1, LARGE), default=500, help="steps; default 500")
    add("--log-every", type=whole(1, LARGE), default=10, help="steps; default 10")
    add("--seed", type=whole(0, LARGE), default=0, help="of the order and of what is fresh")
    offline_flag(group)
    strict_flag(group)
