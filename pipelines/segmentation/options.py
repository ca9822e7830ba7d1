"""The options of `lavallama segment`: read and checked before anything heavy is imported."""

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.console import Parser
from pipelines.flags import device_flag, offline_flag
from pipelines.generation.options import real, whole

__all__ = ["PROG", "Click", "Elsewhere", "pixel_box", "segment_options"]

PROG = "lavallama segment"
EVERYTHING = ("panoptic", "instances", "semantic")
GROUPINGS = ("demo", "v0", "v1")
MEMORY = 6  # frames that a video's objects are remembered by, as `seem.video` and SAM 2
MAX_MEMORY = 64
SIGNED = re.compile(r"-[\d.]")

_DESCRIPTION = """\
Find objects on a picture and write

  OUT/NAME.overlay.png  the picture with what was asked, and what was found
  OUT/NAME.json         the prompt document: a mask, box, score and label for each region
  OUT/NAME.mask.png     one picture of all masks: pixel value i is region i, 0 is nothing

All coordinates are pixels, x to the right, y down. With nothing asked, everything is found.
"""

_EPILOG = """\
how prompts combine:
  points, scribbles and a mask show one object. One --box and one --text beside them say more
  about it: --text "the dog" --point 80,60 is the dog at 80,60. (So does one --reference, with
  models of the grouping "demo".)
  Boxes without them are one object each; one --text beside boxes says what is in each.
  Texts alone find all instances of each. References alone find one object each; one --text beside
  references says more about each. --audio is a text that is spoken.

examples:
  lavallama segment llama.png --point 120,80 --point -40,20     (40,20 is beside the object)
  lavallama segment llama.png --text "the llama on the left" --text volcano
  lavallama segment llama.png --reference other.jpg#10,20,90,120
  lavallama segment llama.png --panoptic --classes llama,grass,sky
  lavallama segment llamas.mp4 --video --box 10,20,90,120
"""


@dataclass(frozen=True, kw_only=True)
class Click:
    """A click, in pixels: on the object, or beside it (label 0)."""

    x: float
    y: float
    label: int


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Something on another picture.

    Attributes:
        path: The picture.
        place: In its pixels: a point x, y, a box x0, y0, x1, y1, or () for all of it.
    """

    path: str
    place: tuple[float, ...]


def segment_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the options of `lavallama segment`.

    Args:
        arguments: None: those of the process.
    """
    parser = _parser()
    options = parser.parse_args(_joined(arguments))
    _check(parser, options)
    return options


def _joined(arguments: Sequence[str] | None) -> list[str] | None:
    """Write `--point -40,20` as `--point=-40,20`: argparse takes the former for an option."""
    if arguments is None:
        import sys

        arguments = sys.argv[1:]
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in ("--point", "--box") and SIGNED.match(argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _parser() -> Parser:
    parser = Parser(
        prog=PROG, usage=f"{PROG} IMAGE [options]", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument(
        "image", metavar="IMAGE", help="a picture; with --video a video, or a folder of frames"
    )
    _prompts(parser.add_argument_group("what to find"))
    _everything(parser.add_argument_group("or everything"))
    _video(parser.add_argument_group("on a video"))
    _model(parser.add_argument_group("with which model"))
    _output(parser.add_argument_group("where to"))
    return parser


def _prompts(group) -> None:
    group.add_argument(
        "--point",
        metavar="X,Y",
        type=_click,
        action="append",
        default=[],
        help="a click on the object; with a minus in front, -X,Y, beside it; repeatable",
    )
    group.add_argument(
        "--box",
        metavar="X0,Y0,X1,Y1",
        type=pixel_box,
        action="append",
        default=[],
        help="a box around an object; repeatable",
    )
    group.add_argument(
        "--scribble",
        metavar="FILE",
        action="append",
        default=[],
        help="JSON: a list of lines [[x, y], ...] in pixels, or of a prompt document's strokes "
        '{"xy": [[x, y], ...], "label": 0 or 1} in fractions; repeatable',
    )
    group.add_argument(
        "--mask",
        metavar="PNG",
        help="a bitmap of the object, of the picture's size: every pixel that is not black",
    )
    group.add_argument(
        "--text",
        metavar="TEXT",
        action="append",
        default=[],
        help="the object in words; repeatable",
    )
    group.add_argument(
        "--reference",
        metavar="PICTURE[#PLACE]",
        type=_elsewhere,
        action="append",
        default=[],
        help="what it looks like: the place X,Y or X0,Y0,X1,Y1 of another picture, or all of it; "
        "repeatable",
    )
    group.add_argument(
        "--audio", metavar="WAV", help="the object in spoken words; needs --asr; as --text"
    )
    group.add_argument(
        "--prompts", metavar="FILE", help="a prompt document; each of its regions is one object"
    )
    group.add_argument(
        "--multimask", action="store_true", help="up to three masks for an object, the best first"
    )


def _everything(group) -> None:
    kinds = group.add_mutually_exclusive_group()
    for kind, what in zip(
        EVERYTHING,
        (
            "each pixel belongs to one thing or to some stuff; also OUT/NAME.panoptic.png and "
            ".json, as COCO's (default, if nothing is asked)",
            "objects one by one; they may overlap",
            "the class of each pixel",
        ),
        strict=True,
    ):
        kinds.add_argument(
            f"--{kind}", dest="mode", action="store_const", const=kind, default=None, help=what
        )
    group.add_argument(
        "--classes",
        metavar="A,B,C",
        type=_names,
        help="their names (default: the model's own vocabulary); an official model reads each "
        "once, and keeps it in ~/.cache/lavallama, or where LAVALLAMA_CACHE says (off: nowhere)",
    )
    group.add_argument(
        "--threshold",
        metavar="X",
        type=real(0.0, 1.0),
        help="the least score of what --text, --instances and --panoptic find (default: 0.5; "
        "--panoptic: the model's own, 0.4 of the embedded one)",
    )


def _video(group) -> None:
    group.add_argument(
        "--video",
        action="store_true",
        help="follow the objects through a video; writes OUT/NAME.overlay.mp4, OUT/NAME.masks/ "
        "(one PNG a frame, pixel value i is object i) and OUT/NAME.json",
    )
    group.add_argument(
        "--frame",
        metavar="N",
        type=whole(0, 10**9),
        help="the frame that prompts are about (default: 0)",
    )
    group.add_argument(
        "--memory",
        metavar="N",
        type=whole(1, MAX_MEMORY),
        help=f"frames to remember, beside those with prompts (default: {MEMORY})",
    )


def _model(group) -> None:
    group.add_argument(
        "--model",
        metavar="PATH|ID",
        default="embedded",
        help="a folder of ours, an official .pt file, a name such as seem-focalt, or a hub id "
        "(default: embedded)",
    )
    group.add_argument(
        "--grouping",
        metavar="NAME",
        choices=GROUPINGS,
        help="of an official file's queries: demo, v0, v1 (default: by its name, else v1)",
    )
    group.add_argument(
        "--asr",
        metavar="PATH|ID",
        help="the speech recogniser for --audio and for recordings that --prompts names, such as a "
        "Whisper",
    )
    device_flag(group)
    offline_flag(group)


def _output(group) -> None:
    group.add_argument(
        "--out", metavar="DIR", default="out", help="a folder; files are replaced (default: out)"
    )
    group.add_argument(
        "--save",
        metavar="FORMAT",
        choices=("coco",),
        action="append",
        default=[],
        help="also OUT/NAME.coco.json: coco (several: grounding.formats.join_coco joins them)",
    )


def _check(parser: Parser, options: argparse.Namespace) -> None:
    """Refuse options that contradict each other; settle what is found if nothing is asked."""
    words = len(options.text) + (options.audio is not None)
    drawn = bool(options.point or options.scribble or options.mask)
    shown = bool(drawn or options.box or options.reference)
    asked = bool(shown or words or options.prompts)
    for broken, message in (
        *_about_objects(options, drawn=drawn, shown=shown, words=words),
        *_about_modes(options, asked=asked, shown=shown),
        *_about_videos(options, asked=asked),
    ):
        if broken:
            parser.error(message)
    if not asked and options.mode is None:
        options.mode = "panoptic"


def _about_objects(
    options: argparse.Namespace, *, drawn: bool, shown: bool, words: int
) -> tuple[tuple[object, str], ...]:
    each = "ask about each object by itself"
    return (
        (
            drawn and len(options.box) > 1,
            f"points, scribbles and a mask show one object, with one --box at most: {each}",
        ),
        (
            (drawn or options.box) and options.reference and len(options.reference) > 1,
            f"one --reference at most goes with what is drawn: {each}",
        ),
        (
            options.reference and len(options.box) > 1,
            f"one --box at most goes with a --reference: {each}",
        ),
        (shown and words > 1, f"one --text at most says more about what is shown: {each}"),
        (
            options.prompts and (shown or words),
            "--prompts says all that is asked: leave others out",
        ),
        (options.audio and not options.asr, "--audio needs --asr, a speech recogniser"),
        (
            options.asr and not (options.audio or options.prompts),
            "--asr is for --audio, and for recordings that --prompts names",
        ),
        (
            options.multimask and not shown,
            "--multimask is for an object that is shown; a text alone finds all its instances",
        ),
    )


def _about_modes(
    options: argparse.Namespace, *, asked: bool, shown: bool
) -> tuple[tuple[object, str], ...]:
    return (
        (options.mode and asked, f"--{options.mode} finds everything: leave prompts out"),
        (
            options.classes and asked,
            "--classes is for --panoptic, --instances and --semantic; ask with --text",
        ),
        (
            options.threshold is not None
            and (shown or options.prompts or options.mode == "semantic"),
            "--threshold is for --text alone, --instances and --panoptic",
        ),
    )


def _about_videos(options: argparse.Namespace, *, asked: bool) -> tuple[tuple[object, str], ...]:
    return (
        (
            not options.video and (options.frame is not None or options.memory is not None),
            "--frame and --memory are for --video",
        ),
        (options.video and options.mode, f"--video follows objects: leave --{options.mode} out"),
        (options.video and options.multimask, "--video follows one mask an object"),
        (options.video and options.save, "--save is for one picture"),
        (
            options.video and not asked,
            "--video needs an object to follow: --point, --box, --mask, --text, ...",
        ),
    )


def _numbers(text: str) -> tuple[float, ...] | None:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


def _click(text: str) -> Click:
    label = 0 if text.startswith("-") else 1
    values = _numbers(text.removeprefix("-"))
    if values is None or len(values) != 2:
        raise argparse.ArgumentTypeError(
            f"must be X,Y in pixels, or -X,Y for a click beside the object, got {text!r}"
        )
    return Click(x=values[0], y=values[1], label=label)


def pixel_box(text: str) -> tuple[float, ...]:
    """Be an argparse type: a box in pixels."""
    values = _numbers(text)
    if values is None or len(values) != 4:
        raise argparse.ArgumentTypeError(f"must be X0,Y0,X1,Y1 in pixels, got {text!r}")
    if not (values[0] < values[2] and values[1] < values[3]):
        raise argparse.ArgumentTypeError(f"needs X0 < X1 and Y0 < Y1, got {text!r}")
    return values


def _elsewhere(text: str) -> Elsewhere:
    path, mark, tail = text.rpartition("#")
    values = _numbers(tail) if mark else None
    if values is None:
        return Elsewhere(path=text, place=())
    if len(values) not in (2, 4):
        raise argparse.ArgumentTypeError(
            f"a place is X,Y or X0,Y0,X1,Y1 in pixels of that picture, got {text!r}"
        )
    return Elsewhere(path=path, place=values)


def _names(text: str) -> list[str]:
    names = [" ".join(name.split()) for name in text.split(",")]
    names = list(dict.fromkeys(filter(None, names)))
    if not names:
        raise argparse.ArgumentTypeError(f"must be names A,B,C, got {text!r}")
    return names
