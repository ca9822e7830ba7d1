"""Convert GLIGEN adapters between layouts: ``python -m pipelines.convert ADAPTER --layout LAYOUT``.

Tensors keep their type and their bits. What each layout is, and where it ends up, is in
``weights.gligen``.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.console import Parser, guarded, quiet_libraries
from pipelines.flags import offline_flag

__all__ = ["main"]

PROG = "lavallama convert"
LAYOUTS = {
    "lavallama": "a folder: adapter.safetensors and config.json",
    "official": "one .bin, as the authors publish it; with --base, the whole UNet",
    "comfyui": "one .safetensors with the official names; text boxes only",
    "diffusers": "one .safetensors; with --base, a folder with the gated UNet; boxes only",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return guarded(PROG, lambda: _convert(arguments))


def _parser() -> argparse.ArgumentParser:
    layouts = "\n".join(f"  {name:10} {what}" for name, what in LAYOUTS.items())
    parser = Parser(
        prog=PROG,
        description="Convert a GLIGEN adapter between layouts, bit for bit.",
        epilog=f"layouts:\n{layouts}",
    )
    parser.add_argument("adapter", help="an adapter in any layout: a path, a hub id or a name")
    parser.add_argument(
        "--layout", required=True, choices=LAYOUTS, metavar="LAYOUT", help="see below"
    )
    parser.add_argument("--out", type=Path, required=True, help="the file or folder to write")
    parser.add_argument("--base", help="a base model, to write its whole UNet with the gates")
    parser.add_argument(
        "--modality",
        choices=("canny", "depth"),
        metavar="NAME",
        help="canny or depth, where the file does not say which; their parameters have the same "
        "names",
    )
    offline_flag(parser)
    return parser


def _convert(arguments: argparse.Namespace) -> int:
    quiet_libraries()
    from grounding.errors import LavallamaError
    from weights.base import load_unet
    from weights.gligen import read_adapter, write_adapter

    if arguments.base is not None and arguments.layout not in ("official", "diffusers"):
        raise LavallamaError(
            f"--base is for the layouts official and diffusers; {arguments.layout} never holds a "
            "whole UNet: leave it out"
        )
    state, config = read_adapter(
        arguments.adapter, offline=arguments.offline, modality=arguments.modality
    )
    unet = None
    if arguments.base is not None:
        precision = next(iter(state.values())).dtype  # a file of one type, the adapter's
        unet = load_unet(arguments.base, dtype=precision, offline=arguments.offline)
    print(write_adapter(state, config, arguments.out, layout=arguments.layout, base=unet))
    return 0


if __name__ == "__main__":
    sys.exit(main())
