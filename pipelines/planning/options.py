"""The options of `lavallama plan`: read and checked before anything heavy is imported."""

import argparse
from collections.abc import Sequence

from pipelines.console import Parser
from pipelines.flags import device_flag, endpoint_flags, offline_flag
from pipelines.generation.options import DTYPES, whole
from weights.hub_place import is_endpoint

__all__ = ["PLANNERS", "PROG", "caption_problem", "plan_options", "planner_options"]

PROG = "lavallama plan"
PLANNERS = ("auto", "rules", "model")
MAX_SEED = 2**31 - 1

_DESCRIPTION = """\
Lay a caption out: say which things it asks for, and where on the canvas each of them goes. Writes

  NAME.json  a prompt document: lavallama generate --boxes NAME.json draws it
  NAME.png   its boxes, drawn

The caption is read by rules: how many of what, of which colour and material, left of, right of,
above, below, on, inside, beside, between, in front of, behind, at the left, without. What could not
be read is said. A language model may propose the layout; it is then checked against the caption and
mended where it differs, and every repair is said. Without a model, rules lay out as well. The
embedded chat model has learned to lay out stickers: --planner model.
"""

_EPILOG = """\
examples:
  lavallama plan "three llamas left of a volcano"
  lavallama plan "a lava llama on a house, without trees" --seed 3 --out llama.json
  lavallama plan "two ice cats left of a house" --planner model
  lavallama plan "two cats on a table" --model Qwen/Qwen2.5-1.5B-Instruct
  lavallama plan "two cats on a table" --model http://127.0.0.1:8000/v1 --served-model NAME
"""


def plan_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the options of `lavallama plan`.

    Args:
        arguments: None: those of the process.
    """
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} CAPTION [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("caption", metavar="CAPTION", help="what the picture is to show")
    parser.add_argument(
        "--seed",
        metavar="N",
        type=whole(0, MAX_SEED),
        default=0,
        help="other seeds give other layouts (default: 0)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE.json",
        help="where to (default: out/CAPTION.layout.json)",
    )
    planner_options(parser.add_argument_group("who lays it out"))
    options = parser.parse_args(arguments)
    for is_wrong, message in caption_problem(options):
        if is_wrong:
            parser.error(message)
    return options


def planner_options(group) -> None:
    """Add the options that say who lays captions out."""
    group.add_argument(
        "--planner",
        choices=PLANNERS,
        default="auto",
        help="rules: no model; model: that of --model, else the embedded one; auto (default): "
        "a model if --model names one, else rules",
    )
    group.add_argument(
        "--model",
        metavar="MODEL",
        help="a language model: a folder or hub id that transformers can load, a LLaVA, or "
        "http(s)://HOST/v1",
    )
    endpoint_flags(group)
    group.add_argument(
        "--attempts",
        metavar="N",
        type=whole(1, 20),
        default=3,
        help="how often the model is asked, at most, before rules lay out (default: 3)",
    )
    device_flag(group)
    group.add_argument("--dtype", choices=DTYPES, default="auto", help="precision")
    offline_flag(group, "for files")


def caption_problem(options: argparse.Namespace) -> list[tuple[bool, str]]:
    """What may be wrong with the options: whether it is, and what to say."""
    remote = is_endpoint(str(options.model))
    return [
        (
            options.caption is not None and not options.caption.strip(),
            "the caption is empty: say what the picture is to show",
        ),
        (
            options.planner == "rules" and options.model is not None,
            "--planner rules asks no --model: leave one of them out",
        ),
        (remote and not options.served_model, "--model at an address needs --served-model"),
        (
            not remote and bool(options.served_model or options.key_variable),
            "--served-model and --key-variable are for a --model at an address",
        ),
    ]
