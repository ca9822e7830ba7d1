"""The options of `lavallama compose`: read and checked before anything heavy is imported."""

import argparse
from collections.abc import Sequence

from pipelines.console import Parser
from pipelines.flags import part_flags
from pipelines.generation.options import UNITS, real, whole
from pipelines.planning.options import MAX_SEED, caption_problem, planner_options

__all__ = ["PROG", "compose_options"]

PROG = "lavallama compose"

_DESCRIPTION = """\
Draw a caption until the picture is what was asked for: plan a layout, draw it, look at the picture
with a SEEM, compare, repair, look again. What is wrong is redrawn in a close-up of its box; where
that does not help, boxes are moved, or all is drawn from another seed. It stops when nothing is
wrong, or when --pictures are drawn; the best one is the result. Writes

  OUT/picture.png     the best picture, and picture.json, its document
  OUT/NN-ACTION.png   each picture drawn, and NN-ACTION.found.png, what was found on it
  OUT/trace.json      every step; --replay OUT/trace.json draws all of it again and compares
"""

_EPILOG = """\
examples:
  lavallama compose "a lava llama left of an ice dog"
  lavallama compose "two gold cats above a bus, without trees" --pictures 12 --out cats
  lavallama compose "a lava llama" --boxes examples/boxes.json
  lavallama compose --replay cats/trace.json
"""


def compose_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the options of `lavallama compose`.

    Args:
        arguments: None: those of the process.
    """
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} CAPTION [options] | --replay TRACE",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("caption", metavar="CAPTION", nargs="?", help="what the picture is to show")
    _what(parser.add_argument_group("what to draw"))
    _models(parser.add_argument_group("with which models"))
    planner_options(parser.add_argument_group("who lays it out"))
    options = parser.parse_args(arguments)
    for is_wrong, message in (*caption_problem(options), *_problems(options)):
        if is_wrong:
            parser.error(message)
    return options


def _what(group) -> None:
    group.add_argument(
        "--boxes",
        metavar="FILE",
        help="a layout in place of one that is planned, as for lavallama generate; its boxes are "
        "never moved",
    )
    group.add_argument("--units", metavar="NAME", choices=UNITS, default="auto", help="of --boxes")
    group.add_argument(
        "--seed",
        metavar="N",
        type=whole(0, MAX_SEED),
        default=0,
        help="of the layout and the first picture; each next one takes the next (default: 0)",
    )
    group.add_argument(
        "--pictures",
        metavar="N",
        type=whole(1, 1000),
        default=8,
        help="that are drawn, at most; 1 draws once (default: 8)",
    )
    group.add_argument("--replay", metavar="TRACE", help="draw a composition again, and compare")
    group.add_argument("--out", metavar="FOLDER", help="where to (default: out/CAPTION)")


def _models(group) -> None:
    group.add_argument(
        "--generator",
        metavar="PATH|ID",
        help="what draws, as lavallama generate --model (default: embedded)",
    )
    group.add_argument("--adapter", metavar="PATH|ID", help="its gates (default: its own)")
    part_flags(group)
    group.add_argument(
        "--finder",
        metavar="PATH|ID",
        help="the SEEM that looks, as lavallama segment --model (default: embedded)",
    )
    group.add_argument(
        "--steps", metavar="N", type=whole(1, 1000), help="denoising steps (default: the model's)"
    )
    group.add_argument(
        "--guidance", metavar="X", type=real(0.0, 100.0), help="weight of the prompt"
    )


def _problems(options: argparse.Namespace) -> list[tuple[bool, str]]:
    """What may be wrong: whether it is, and what to say."""
    replays = options.replay is not None
    planned = options.model is not None or options.planner != "auto"
    models = (options.generator, options.adapter, options.vae, options.text_encoder)
    given = any(name is not None for name in models)
    return [
        (replays and options.caption is not None, "--replay takes the caption from the trace"),
        (replays and options.boxes is not None, "--replay takes the layout from the trace"),
        (replays and given, "--replay draws with the trace's models"),
        (not replays and options.caption is None, "say what to draw: a CAPTION"),
        (
            options.boxes is not None and planned,
            "--boxes is a layout already: leave --planner and --model out",
        ),
    ]
