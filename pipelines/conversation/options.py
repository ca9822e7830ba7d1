"""The options of `lavallama chat`: read and checked before anything heavy is imported."""

import argparse
from collections.abc import Sequence

from pipelines.console import Parser
from pipelines.flags import device_flag, endpoint_flags, offline_flag
from pipelines.generation.options import DTYPES, real, whole
from pipelines.segmentation.options import pixel_box
from weights.hub_place import is_endpoint

__all__ = [
    "DIALECTS",
    "PROG",
    "SHOWING",
    "TEMPLATES",
    "chat_options",
    "dialect_option",
    "model_options",
    "model_problems",
]

PROG = "lavallama chat"
SHOWING = ("text", "marks", "crops")
DIALECTS = (
    "llava",
    "llava-unpadded",
    "kosmos2",
    "florence2",
    "qwen2.5-vl",
    "qwen3-vl",
    "internvl",
    "seg",
)
TEMPLATES = (
    "vicuna_v1",
    "llava_v1",
    "plain",
    "llava_llama_2",
    "llava_llama_3",
    "mistral_instruct",
    "chatml_direct",
    "mpt",
)
MAX_TOKENS = 1_000_000
MAX_SEED = 2**63 - 1

_DESCRIPTION = """\
Ask about a picture. Without a question, questions are read from the terminal, one a line.

The model that is built in knows the sticker world and nothing else; --model names another one.
"""

_EPILOG = """\
examples:
  lavallama chat examples/fox_and_house.png "What is the house made of?"
  lavallama chat photo.jpg "What is this made of?" --model llava-1.5-7b
  lavallama chat llama.png "What is this?" --region 10,20,90,120 --model my-llava
  lavallama chat llama.png "Where is the llama?" --model my-llava --masks --overlay found.png
  lavallama chat llama.png "Where is the llama?" --model http://127.0.0.1:8000/v1 \\
      --served-model Qwen/Qwen2.5-VL-7B-Instruct --dialect qwen2.5-vl --out answer.json
"""


def chat_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the options of `lavallama chat`.

    Args:
        arguments: None: those of the process.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    for is_wrong, message in (
        *model_problems(options),
        (options.question is not None and not options.question.strip(), "the question is empty"),
        (
            options.question is not None and options.audio is not None,
            "give QUESTION or --audio, not both",
        ),
        (bool(options.audio) and not options.asr, "--audio needs --asr, a speech recogniser"),
        (bool(options.asr) and not options.audio, "--asr is for --audio"),
        (
            options.temperature == 0 and options.top_p != 1,
            "--top-p is for sampling: give --temperature above 0",
        ),
    ):
        if is_wrong:
            parser.error(message)
    return options


def model_problems(options: argparse.Namespace) -> list[tuple[bool, str]]:
    """What may be wrong with `model_options`: whether it is, and what to say."""
    remote = is_endpoint(str(options.model))
    local_only = ("base", "template", "bits")
    return [
        (remote and not options.served_model, "--model at an address needs --served-model"),
        (
            not remote and bool(options.served_model or options.key_variable),
            "--served-model and --key-variable are for a --model at an address",
        ),
        *(
            (remote and bool(getattr(options, name)), f"--{name} is for a model on this machine")
            for name in local_only
        ),
    ]


def _parser() -> Parser:
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} IMAGE [QUESTION] [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("image", metavar="IMAGE", help="the picture")
    parser.add_argument("question", metavar="QUESTION", nargs="?", help="what to ask about it")
    _regions(parser.add_argument_group("what it is about"))
    _speech(parser.add_argument_group("in spoken words"))
    _answers(parser.add_argument_group("how to answer"))
    model_options(parser.add_argument_group("with which model"))
    return parser


def _regions(group) -> None:
    group.add_argument(
        "--region",
        metavar="X0,Y0,X1,Y1",
        type=pixel_box,
        action="append",
        default=[],
        help="a region that the question is about, in pixels; can be repeated",
    )
    group.add_argument(
        "--show",
        choices=SHOWING,
        default="text",
        help="how regions reach the model: boxes in words, numerals on the picture, or crops",
    )
    dialect_option(group)


def dialect_option(group) -> None:
    """Add the option that says how a chat model writes boxes."""
    group.add_argument(
        "--dialect",
        choices=DIALECTS,
        metavar="NAME",
        default="llava",
        help=f"how the model writes boxes: {', '.join(DIALECTS)}",
    )


def _speech(group) -> None:
    group.add_argument("--audio", metavar="WAV", help="the question in spoken words; needs --asr")
    group.add_argument(
        "--asr", metavar="PATH|ID", help="the speech recogniser for --audio, such as a Whisper"
    )


def _answers(group) -> None:
    group.add_argument(
        "--max-tokens",
        metavar="N",
        type=whole(1, MAX_TOKENS),
        default=512,
        help="longest answer (default: 512)",
    )
    group.add_argument(
        "--temperature",
        metavar="T",
        type=real(0, 100),
        default=0.0,
        help="0 (default) gives the likeliest answer; above, answers are sampled",
    )
    group.add_argument(
        "--top-p",
        metavar="P",
        type=real(1e-6, 1),
        default=1.0,
        help="sample among the likeliest words that together have this probability",
    )
    group.add_argument(
        "--seed", metavar="N", type=whole(0, MAX_SEED), default=0, help="of the sampling"
    )
    group.add_argument(
        "--masks",
        metavar="SEEM",
        nargs="?",
        const="embedded",
        help="segment what has a box in the answers, with the embedded SEEM or another",
    )
    group.add_argument(
        "--out",
        metavar="FILE.json",
        help="write the conversation as a prompt document, with the regions of the answers",
    )
    group.add_argument(
        "--overlay", metavar="FILE.png", help="write the picture with the regions drawn on it"
    )


def model_options(group) -> None:
    """Add the options that name a chat model."""
    group.add_argument(
        "--model",
        metavar="MODEL",
        default="embedded",
        help="embedded, a folder, a short name, a hub id, or http(s)://HOST/v1 (default: embedded)",
    )
    group.add_argument("--base", metavar="MODEL", help="what a LoRA or projector is put upon")
    group.add_argument(
        "--template",
        choices=TEMPLATES,
        metavar="NAME",
        help=f"how the model is spoken to: {', '.join(TEMPLATES)}",
    )
    endpoint_flags(group)
    device_flag(group)
    group.add_argument("--dtype", choices=DTYPES, default="auto", help="precision")
    group.add_argument(
        "--bits", type=int, choices=(4, 8), help="bits a weight, through bitsandbytes"
    )
    offline_flag(group, "for files")
