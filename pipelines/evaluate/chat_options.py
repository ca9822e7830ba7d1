"""The options of `lavallama evaluate chat`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipelines.console import Parser
from pipelines.conversation.options import dialect_option, model_options, model_problems
from pipelines.evaluate.shared_options import data_options, names
from pipelines.generation.options import MAX_BATCH, whole

__all__ = ["PROG", "STICKERS", "TASKS", "chat_options"]

PROG = "lavallama evaluate chat"
STICKERS = "stickers"
TASKS = ("pope", "counting", "attribute", "relation", "referring", "caption", "fits", "plan")
PICTURES = 12  # examples on each contact sheet, unless told otherwise
LONGEST = 256  # tokens of an answer, unless told otherwise

_DESCRIPTION = """\
Ask a chat model questions whose answers are known, and print a report in Markdown and one line of
JSON.

  pope       is there a ... ? of things that are there and things that are not: chosen at random,
             among the most frequent, among those that go together with what is there
  counting   how many ... ?
  attribute  what is the ... made of? (stickers)
  relation   is ... left of, right of, above, below ... ? is it left or right of ... ? (stickers)
  referring  the box of what a phrase names
  caption    what a description names, and what it makes up (stickers)
  fits       which of two captions fits, of two pictures that differ in who is what, or where, as
             in Winoground (stickers, pairs)
  plan       a layout for a request, without a picture (stickers)

The data is the sticker world's held-out scenes, or a path, known by its files: instances*.json or
panoptic*.json of COCO, refs*.json of RefCOCO, phrases*.json, pairs*.jsonl (image_0, image_1,
caption_0, caption_1, as Winoground has them), prompt documents that name their image, or pictures
alone, of which SEEM says what is on them.
"""

_EXAMPLE = """\
examples:
  lavallama evaluate chat --model my-llava --scenes 60 --out runs/chat
  lavallama evaluate chat --model llava-1.5-7b --data coco/annotations/instances_val2017.json \\
      --limit 500 --after "\\nAnswer the question using a single word or phrase."
  lavallama evaluate chat --data photos --questions questions.jsonl
  lavallama evaluate chat --data photos --answers answers.jsonl
"""


def chat_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the options.

    Args:
        arguments: None: those of the process.
    """
    parser = Parser(prog=PROG, usage=f"{PROG} [options]", description=_DESCRIPTION, epilog=_EXAMPLE)
    model_options(parser.add_argument_group("with which model"))
    _asking(parser.add_argument_group("how to ask"))
    _data(parser.add_argument_group("on what"))
    _measures(parser.add_argument_group("what to measure"))
    _places(parser.add_argument_group("where to"))
    options = parser.parse_args(arguments)
    asks = options.questions is None and options.answers is None
    unknown = [name for name in options.tasks or () if name not in TASKS]
    problems = [
        *((True, f"--tasks: there is no {name!r:.40}; {_CHOICE}") for name in unknown),
        (options.questions is not None and options.answers is not None, _TWO_FILES),
        (options.pictures is not None and options.out is None, _NO_PLACE),
        *(model_problems(options) if asks else ()),
    ]
    for is_wrong, message in problems:
        if is_wrong:
            parser.error(message)
    options.after = options.after.replace("\\n", "\n")
    return options


_CHOICE = f"choose from {', '.join(TASKS)}"
_TWO_FILES = "--questions writes what --answers answers: give one of them"
_NO_PLACE = "--pictures needs a place: say --out DIR too"


def _asking(group) -> None:
    dialect_option(group)
    group.add_argument(
        "--after",
        metavar="TEXT",
        default="",
        help='what is said after each question, "\\n" for a new line (default: nothing)',
    )
    group.add_argument(
        "--max-tokens",
        metavar="N",
        type=whole(1, 100_000),
        default=LONGEST,
        help=f"longest answer (default: {LONGEST})",
    )
    group.add_argument(
        "--batch",
        metavar="N",
        type=whole(1, MAX_BATCH),
        default=8,
        help="questions asked at once (default: 8)",
    )


def _data(group) -> None:
    data_options(group, "stickers, or a folder, or one of its files", "pictures of a path")
    group.add_argument(
        "--split", metavar="NAME", default="val", help="of RefCOCO's references (default: val)"
    )
    group.add_argument(
        "--segmenter",
        metavar="PATH|ID",
        default="embedded",
        help="the SEEM that looks at pictures alone (default: embedded)",
    )
    group.add_argument(
        "--classes",
        metavar="NAMES",
        type=names,
        help="what it looks for, with commas (default: all things that it knows)",
    )


def _measures(group) -> None:
    group.add_argument(
        "--tasks",
        metavar="NAMES",
        type=names,
        help="those above, with commas (default: what the data has)",
    )
    group.add_argument(
        "--each",
        metavar="N",
        type=whole(1, 1000),
        default=3,
        help="pope: things that are there, and as many that are not, of each picture (default: 3)",
    )
    group.add_argument(
        "--seed",
        metavar="N",
        type=whole(0, 2**63 - 1),
        default=0,
        help="of the choice of questions (default: 0); the same for all that are compared",
    )


def _places(group) -> None:
    group.add_argument("--out", metavar="DIR", type=Path, help="for report.md and report.json")
    group.add_argument(
        "--pictures",
        metavar="N",
        type=whole(0, 1000),
        help=f"examples on each contact sheet, DIR/pictures/*.png (default: {PICTURES} with --out)",
    )
    group.add_argument(
        "--questions",
        metavar="FILE.jsonl",
        type=Path,
        help="write the questions, as POPE does, and the pictures beside them, and ask nobody",
    )
    group.add_argument(
        "--answers",
        metavar="FILE.jsonl",
        type=Path,
        help="read the answers to these questions instead of asking a model",
    )
