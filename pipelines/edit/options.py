"""The options of `lavallama edit`: read and checked before anything heavy is imported."""

import argparse
from collections.abc import Sequence

from pipelines.console import Parser
from pipelines.flags import device_flag, offline_flag, part_flags

__all__ = ["OUT", "PROG", "USAGE", "edit_options"]

PROG = "lavallama edit"
OUT = "out/edit"

_DESCRIPTION = """\
Edit a picture step by step, and write

  OUT/edited.png          the picture; its metadata holds the document
  OUT/edited.json         the prompt document: the regions of the picture as it is now
  OUT/edited.overlay.png  the picture with the outlines of its regions
  OUT/history.json        all steps, with OUT/pictures/: `lavallama edit OUT` goes on with them

Without --do, --script and --replay, steps are read from the terminal, one a line; `help` lists
them. What lies outside of the things that are edited stays as it is, bit for bit: as people see
it, that is in 8 bits, upright, in sRGB, transparency on white. A warning says if that changes it.
"""

USAGE = """\
  select "lava llama"             what has this phrase; what SEEM finds by it
  select r1                       a region, by its id
  select 0.4,0.5 -0.1,0.2         what lies at 0.4,0.5 and not at 0.1,0.2
  select 0.1,0.2,0.5,0.9          what lies in a box
  select all "dog"                all dogs
  remove [REGION]                 take it away, fill the hole
  move [REGION] 0.2,-0.1          by fractions of the picture: right, down
  move [REGION] to 0.5,0.5        its middle to a place
  replace [REGION] "ice cat"      draw another thing where it is
  add "gold crown" 0.4,0,0.6,0.2  draw a thing into a box
  recolour [REGION] teal          give its pixels a colour: a CSS name, or "#rrggbb"
  recolour [REGION] of ice        draw it anew, of a material
  undo, redo

REGION is an id, or a phrase that only one region has; without it, what is selected. Places are
fractions of the picture, x to the right, y down. Settings follow as name=value: seed=3, steps=12,
feather=2; of move harmonise=0.4 (draw it into its new place); of remove by=model (what fills the
hole: model, telea or auto), of move and replace fill=...; of replace and add whole=true (take the
whole box from the drawing, not only the thing in it)."""

_EPILOG = """\
steps:
{usage}

examples:
  lavallama edit out/lava-llama.png --do 'select "lava llama"' --do 'move 0.2,0.1'
  lavallama edit photo.jpg --do 'select 0.4,0.6' --do remove --out clean
  lavallama edit clean --do undo --do 'replace r1 "ice cat" seed=3'
  lavallama edit clean --replay
"""


def edit_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the options of `lavallama edit`.

    Args:
        arguments: None: those of the process.
    """
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} PICTURE|DOCUMENT|HISTORY [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG.format(usage=USAGE),
    )
    parser.add_argument(
        "source",
        metavar="PICTURE",
        help="a picture, a prompt document that names one, or the folder of a history",
    )
    steps = parser.add_argument_group("what to do")
    steps.add_argument(
        "--do", metavar="STEP", action="append", default=[], help="one step; repeatable"
    )
    steps.add_argument(
        "--script",
        metavar="FILE",
        help='steps in a file, one a line; or a JSON list of them, also as {"do": "move", ...}',
    )
    steps.add_argument(
        "--replay",
        action="store_true",
        help="do all steps of a history again, and compare them to the bit",
    )
    _models(parser.add_argument_group("with which models"))
    parser.add_argument_group("where to").add_argument(
        "--out",
        metavar="DIR",
        help=f"a folder; files are replaced (default: that of the history, else {OUT})",
    )
    options = parser.parse_args(arguments)
    if options.replay and (options.do or options.script):
        parser.error("--replay does the steps of the history alone: leave --do and --script out")
    if options.do and options.script:
        parser.error("steps come from --do or from --script, not from both")
    return options


def _models(group) -> None:
    group.add_argument(
        "--model",
        metavar="PATH|ID",
        help="what draws, as of lavallama generate (default: that of the history, else embedded)",
    )
    group.add_argument("--adapter", metavar="PATH|ID", help="its GLIGEN adapter")
    part_flags(group)
    group.add_argument(
        "--segmenter", metavar="PATH|ID", help="what finds, as --model of lavallama segment"
    )
    device_flag(group)
    offline_flag(group)
