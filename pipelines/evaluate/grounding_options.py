"""The options of `lavallama evaluate grounding`."""

import argparse
from pathlib import Path

from pipelines.console import Parser
from pipelines.evaluate.shared_options import data_options, names
from pipelines.flags import device_flag, offline_flag, part_flags
from pipelines.generation.options import DTYPES, MAX_BATCH, MAX_STEPS, real, whole

__all__ = ["EMBEDDED_JUDGE", "PROG", "TASKS", "grounding_options"]

PROG = "lavallama evaluate grounding"
TASKS = (
    "judge",
    "ap",
    "instances",
    "counting",
    "attribute",
    "spatial",
    "negation",
    "fid",
)
EMBEDDED_JUDGE = Path(__file__).parents[2] / "weights" / "embedded" / "judge"
PICTURES = 12  # layouts on each contact sheet, unless told otherwise

_DESCRIPTION = """\
Draw held-out layouts, look at the pictures with a detector, and print a report in Markdown and one
line of JSON. The true pictures, where there are any, are the ceiling; the same base without gates
is the floor.

  judge      what the sticker judge names in each box; box IoU on plain backgrounds (stickers)
  ap         the detector's AP, AP50 and AP75 against the boxes asked for, by COCO's code
  instances  mIoU and success rate by the number of instances, as COCO-MIG has them
  counting   so many of one object              these four in the manner of
  attribute  two objects of two materials       LLM-grounded Diffusion,
  spatial    one left of, above ... the other   on a third as many prompts
  negation   something that must not be there   as there are scenes (stickers)
  fid        Frechet Inception distance to the true pictures; only if --tasks or --fid names it
"""

_EXAMPLE = """\
examples:
  lavallama evaluate grounding --scenes 24 --out runs/grounding
  lavallama evaluate grounding --model sd14 --adapter gligen-comfyui --data coco \\
      --detector hustvl/yolos-base --limit 500 --out runs/coco
  lavallama evaluate grounding --data my-prompts --detector google/owlv2-base-patch16-ensemble
"""


def grounding_options() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = Parser(prog=PROG, usage=f"{PROG} [options]", description=_DESCRIPTION, epilog=_EXAMPLE)
    _model(parser.add_argument_group("with which model"))
    _data(parser.add_argument_group("on what"))
    _measures(parser.add_argument_group("what to measure"))
    group = parser.add_argument_group("where to")
    group.add_argument("--out", metavar="DIR", type=Path, help="for report.md and report.json")
    group.add_argument(
        "--pictures",
        metavar="N",
        type=whole(0, 1000),
        help="layouts on each contact sheet, DIR/pictures/*.png, with the boxes asked for and "
        f"found (default: {PICTURES} with --out)",
    )
    return parser


def _model(group) -> None:
    group.add_argument(
        "--model",
        metavar="PATH|ID",
        default="embedded",
        help="embedded, a diffusers folder, a single-file checkpoint, a short name or a hub id "
        "(default: embedded)",
    )
    group.add_argument(
        "--adapter",
        metavar="PATH|ID",
        help="its GLIGEN gates; 'none' for the floor alone (default: the model's own)",
    )
    part_flags(group)
    group.add_argument(
        "--steps",
        metavar="N",
        type=whole(1, MAX_STEPS),
        help="of the sampler (default: the model's own)",
    )
    group.add_argument(
        "--batch",
        metavar="N",
        type=whole(1, MAX_BATCH),
        default=10,
        help="pictures drawn at once (default: 10)",
    )
    group.add_argument(
        "--isolate", action="store_true", help="keep regions apart, as lavallama generate does"
    )
    group.add_argument("--no-floor", action="store_true", help="leave out the base without gates")
    device_flag(group)
    group.add_argument(
        "--dtype", metavar="NAME", choices=DTYPES, default="auto", help=", ".join(DTYPES)
    )
    offline_flag(group)


def _data(group) -> None:
    data_options(
        group,
        "stickers; COCO's instances*.json, or a folder that holds one; a prompt document in "
        "any format, or a folder of those",
        "images or documents of a path",
    )


def _measures(group) -> None:
    group.add_argument(
        "--tasks",
        metavar="NAMES",
        type=names,
        help="those above, with commas (default: all that the data has, without fid)",
    )
    group.add_argument(
        "--detector",
        metavar="NAME",
        help="judge: the sticker judge, shown where the embedded SEEM sees objects; seem, or "
        "seem:MODEL: a SEEM; anything else: an object detector of transformers, a folder or a hub "
        "id (default: judge for stickers, else seem)",
    )
    group.add_argument(
        "--threshold",
        metavar="X",
        type=real(0.0, 1.0),
        help="the score from which a detection counts, except for ap (default: the detector's)",
    )
    group.add_argument(
        "--judge",
        metavar="DIR",
        type=Path,
        default=EMBEDDED_JUDGE,
        help="the sticker judge (default: the embedded one)",
    )
    group.add_argument(
        "--fid",
        metavar="FILE",
        nargs="?",
        const="",
        help='measure FID too; needs pip install "lavallama[eval]"; FILE: its Inception\'s weights',
    )
