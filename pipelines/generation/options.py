"""The options of `lavallama generate`: read and checked before anything heavy is imported."""

import argparse
import math
from collections.abc import Callable

from grounding.errors import PromptError
from pipelines.console import Parser
from pipelines.flags import device_flag, offline_flag, part_flags
from pipelines.generation.companions.weighted import Weighted

__all__ = ["PROG", "generate_parser"]

PROG = "lavallama generate"

SCHEDULERS = ("plms", "ddim", "dpm++", "unipc", "lcm")
DTYPES = ("auto", "float32", "float16", "bfloat16")
ATTENTION = ("auto", "sdpa", "xformers", "math")
UNITS = ("auto", "normalized", "pixel")
MAP_KINDS = ("canny", "depth", "hed", "normal", "semantic")

MAX_STEPS = 1000  # the training timesteps of every Stable Diffusion
MAX_SIDE = 4096
MAX_IMAGES = 1000
MAX_BATCH = 256

_DESCRIPTION = """\
Draw what the prompt says, where the boxes say, and write

  NAME.png        the picture; its metadata holds everything needed to make it again
  NAME.boxes.png  the same with the boxes drawn on it
  NAME.json       the prompt document with every setting resolved

Boxes are [x0, y0, x1, y1], as fractions of the picture, origin at the top left:

  [{"phrase": "lava llama", "box": [0.15, 0.15, 0.85, 0.9]}]
"""

_EXAMPLE = """\
example:
  lavallama generate --prompt "lava llama" --boxes examples/boxes.json --seed 7 --out llama.png
"""


def generate_parser() -> argparse.ArgumentParser:
    """Build the parser of `lavallama generate`; options that were not given are None."""
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} --prompt TEXT [--boxes FILE] [options]",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
    )
    _what(parser.add_argument_group("what to draw"))
    _how(parser.add_argument_group("how to draw it"))
    _model(parser.add_argument_group("with which model"))
    _beside(parser.add_argument_group("what else beside the model"))
    _output(parser.add_argument_group("where to"))
    return parser


def _what(group) -> None:
    group.add_argument("--prompt", metavar="TEXT", help="the whole picture in words")
    group.add_argument(
        "--boxes",
        metavar="FILE",
        help="what goes where: a list of {phrase, box}, a {phrase: box} mapping, a prompt "
        "document, GLIGEN meta, COCO, LabelMe, LLM-grounded-Diffusion text; or inline JSON. "
        "Without it: a plain picture",
    )
    group.add_argument(
        "--units",
        metavar="NAME",
        choices=UNITS,
        default="auto",
        help="of the coordinates in --boxes: auto, normalized, pixel; pixels may need --width and "
        "--height (default: auto)",
    )
    group.add_argument(
        "--boxes-image",
        metavar="NAME",
        help="which image of a COCO file that holds several, by id or file name",
    )
    group.add_argument("--negative", metavar="TEXT", help="what to keep out of the picture")
    group.add_argument(
        "--reference",
        metavar="ID=FILE",
        action="append",
        type=named_file,
        help="a picture that the region ID (r1, r2, ... by place) should look like; for text+image "
        "adapters; may be repeated",
    )
    group.add_argument(
        "--map",
        metavar="KIND=FILE",
        action="append",
        type=map_file,
        help=f"a picture that guides the whole canvas, for an adapter of that kind: "
        f"{', '.join(MAP_KINDS)}; may be repeated",
    )
    group.add_argument(
        "--image",
        metavar="FILE",
        help="a picture to start from: it is redrawn inside the boxes and kept outside, at its own "
        "size (what the model draws is scaled to it); canny adapters follow its edges; with "
        "--strength all of it is redrawn, at a size that the model can draw",
    )
    group.add_argument(
        "--control",
        metavar="FILE[=W]",
        action="append",
        type=weighted,
        help="the map for a --controlnet, and how much it counts (1); canny:FILE takes the edges "
        "of a picture; once for each ControlNet, in order",
    )
    group.add_argument(
        "--ip-image",
        metavar="FILE[=W]",
        type=weighted,
        help="the picture for the --ip-adapter, and how much it counts (1)",
    )
    group.add_argument(
        "--from-image",
        metavar="PNG",
        help="draw a picture of ours again from its metadata; other options override it",
    )
    group.add_argument(
        "--trust",
        action="store_true",
        help="with --from-image: load the models that its metadata names, not only the embedded "
        "one",
    )


def _how(group) -> None:
    group.add_argument(
        "--seed",
        metavar="N",
        type=whole(0, 2**63 - 1),
        help="of the first picture; the next ones take N+1, N+2, ... (default: 0)",
    )
    group.add_argument(
        "--steps",
        metavar="N",
        type=whole(1, MAX_STEPS),
        help="denoising steps (default: the model's)",
    )
    group.add_argument(
        "--guidance",
        metavar="X",
        type=real(0.0, 100.0),
        help="weight of the prompt against the negative prompt; 1 is none (default: the model's)",
    )
    group.add_argument(
        "--schedule",
        metavar="ON,LINEAR,OFF",
        type=schedule,
        help="fractions of the steps with the boxes fully on, fading, off (default: the model's)",
    )
    group.add_argument(
        "--scheduler",
        metavar="NAME",
        choices=SCHEDULERS,
        help=f"{', '.join(SCHEDULERS)} (default: the model's)",
    )
    group.add_argument(
        "--isolate",
        action=argparse.BooleanOptionalAction,
        help="keep regions apart: each place belongs to one box (or outline), where boxes overlap "
        "to that of the higher z, else the smaller, and sees nothing of the others",
    )
    for side in ("width", "height"):
        group.add_argument(
            f"--{side}",
            metavar="PX",
            type=whole(1, MAX_SIDE),
            help="in pixels (default: the --image's that is redrawn inside boxes; else the boxes' "
            "canvas if it suits the model, else the model's)",
        )
    group.add_argument(
        "--images",
        metavar="N",
        type=whole(1, MAX_IMAGES),
        default=1,
        help="how many pictures (default: 1)",
    )
    group.add_argument(
        "--batch",
        metavar="N",
        type=whole(1, MAX_BATCH),
        default=1,
        help="how many at once: faster on a GPU; 1 makes pictures equal to the bit whatever "
        "is drawn beside them (default: 1)",
    )

    group.add_argument(
        "--blend",
        metavar="PX",
        type=whole(0, MAX_SIDE),
        help="inpainting: pixels of the result, inside the boxes, over which old fades into new; "
        "outside nothing changes (default: 0)",
    )
    group.add_argument(
        "--strength",
        metavar="X",
        type=strength,
        help="begin from --image instead of noise and redraw so much of it: above 0, at most 1",
    )


def _model(group) -> None:
    group.add_argument(
        "--model",
        metavar="PATH|ID",
        help="a diffusers folder, a single-file checkpoint or a hub id (default: embedded)",
    )
    group.add_argument(
        "--adapter",
        metavar="PATH|ID",
        help="GLIGEN gates: ours, official, diffusers or ComfyUI; 'none' for none "
        "(default: the embedded model's own)",
    )
    group.add_argument(
        "--image-encoder",
        metavar="PATH|ID",
        help="reads reference pictures: a folder with image_encoder/ and image_project/ "
        "(default: the adapter's or the model's own); or --ip-image: a CLIP, also in a folder of a "
        "repository (default: the one of the right width, beside the --ip-adapter or on the hub)",
    )
    part_flags(group)
    device_flag(group)
    group.add_argument(
        "--dtype",
        metavar="NAME",
        choices=DTYPES,
        default="auto",
        help="auto, float32, float16, bfloat16; auto is float16 on cuda, bfloat16 for large "
        "models on CPUs that compute in it, float32 elsewhere",
    )
    group.add_argument(
        "--attention",
        metavar="NAME",
        choices=ATTENTION,
        default="auto",
        help="auto, sdpa, xformers, math; auto is xformers on cuda where installed, else sdpa",
    )
    offline_flag(group)
    group.add_argument(
        "--tile-vae",
        action="store_true",
        help="encode and decode tile by tile: large pictures in less memory, slightly different",
    )
    group.add_argument(
        "--offload",
        action="store_true",
        help="keep on the GPU only the part of the model that is at work",
    )


def _beside(group) -> None:
    group.add_argument(
        "--lora",
        metavar="PATH|ID[=W]",
        action="append",
        type=weighted,
        help="a LoRA or its kin (LoCon, LoHa, LoKr, DoRA) of any maker, and how much it counts "
        "(1); may be repeated",
    )
    group.add_argument(
        "--embedding",
        metavar="PATH|ID[=WORD]",
        action="append",
        help="a word of your own (textual inversion) of any maker, and what prompts call it "
        "(default: what the file does); may be repeated",
    )
    group.add_argument(
        "--controlnet",
        metavar="PATH|ID",
        action="append",
        help="a ControlNet, control-LoRA or T2I-Adapter, a folder or a file; needs --control; may "
        "be repeated",
    )
    group.add_argument(
        "--ip-adapter",
        metavar="PATH|ID",
        help="an IP-Adapter, such as h94/IP-Adapter/models/ip-adapter_sd15.safetensors; needs "
        "--ip-image",
    )


def _output(group) -> None:
    group.add_argument(
        "--out",
        metavar="PATH",
        help="NAME.png, or a folder; an existing file is replaced (default: out/PROMPT.png)",
    )
    overlay = group.add_mutually_exclusive_group()
    overlay.add_argument(
        "--overlay",
        metavar="PATH",
        nargs="?",
        const="",
        help="also the picture with its boxes drawn (default: NAME.boxes.png if there are boxes)",
    )
    overlay.add_argument("--no-overlay", action="store_true", help="write no such picture")
    group.add_argument(
        "--strict",
        action="store_true",
        help="errors instead of warnings where the input cannot be used as it stands",
    )


def named_file(text: str) -> tuple[str, str]:
    """Read NAME=FILE."""
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"must be NAME=FILE, got {text!r}")
    return name, file


def map_file(text: str) -> tuple[str, str]:
    """Read KIND=FILE, KIND one of those that there are."""
    kind, file = named_file(text)
    if kind not in MAP_KINDS:
        raise argparse.ArgumentTypeError(
            f"must be KIND=FILE with a kind of {', '.join(MAP_KINDS)}, got {text!r}"
        )
    return kind, file


def weighted(text: str) -> str:
    """Check FILE or FILE=WEIGHT."""
    try:
        Weighted.parse(text)
    except PromptError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def strength(text: str) -> float:
    """Read a share above 0 and at most 1."""
    value = real(0.0, 1.0)(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, got {text!r}")
    return value


def whole(low: int, high: int) -> Callable[[str], int]:
    """Make an argparse type: a whole number in [low, high]."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {low} to {high}, got {text!r}"
            )
        return value

    return parse


def real(low: float, high: float) -> Callable[[str], float]:
    """Make an argparse type: a finite number in [low, high]."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"must be a number from {low:g} to {high:g}, got {text!r}"
            )
        return value

    return parse


def schedule(text: str) -> tuple[float, float, float]:
    """Read ON,LINEAR,OFF: three fractions of the steps that sum to 1."""
    try:
        values = tuple(float(part) for part in text.replace("/", ",").split(","))
    except ValueError:
        values = ()
    if (
        len(values) != 3
        or not all(0.0 <= value <= 1.0 for value in values)
        or not math.isclose(sum(values), 1.0, abs_tol=1e-6)
    ):
        raise argparse.ArgumentTypeError(
            "must be three fractions ON,LINEAR,OFF from 0 to 1 that sum to 1, "
            f"such as 0.3,0,0.7, got {text!r}"
        )
    return values
