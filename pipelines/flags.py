"""Flags that many commands have, called and explained alike in all of them."""

import argparse

__all__ = ["device_flag", "endpoint_flags", "offline_flag", "part_flags", "strict_flag"]


def device_flag(group: argparse._ActionsContainer) -> None:
    """`--device NAME`, see `pipelines.device`."""
    group.add_argument(
        "--device",
        metavar="NAME",
        default="auto",
        help="auto, cpu, cuda, cuda:1, mps (default: auto)",
    )


def offline_flag(group: argparse._ActionsContainer, what: str = "") -> None:
    """`--offline`.

    Args:
        group: Of flags, or a parser.
        what: That would otherwise come from the network, "for files"; "": all that there is.
    """
    told = f"never use the network {what}".rstrip()
    group.add_argument("--offline", action="store_true", help=told)


def part_flags(group: argparse._ActionsContainer) -> None:
    """`--vae` and `--text-encoder`: in place of a base model's own, or where it has none."""
    group.add_argument(
        "--vae",
        metavar="PATH|ID",
        help="the autoencoder in place of the model's own, or where it has none: a folder or file "
        "of one or of a whole model, a hub id, sd-vae-ft-mse or sdxl-vae-fp16-fix",
    )
    group.add_argument(
        "--text-encoder",
        metavar="PATH|ID",
        help="text encoders and tokenizers likewise: a folder, a file, a hub id or a short name",
    )


def endpoint_flags(group: argparse._ActionsContainer) -> None:
    """`--served-model NAME` and `--key-variable NAME` of an OpenAI-compatible endpoint."""
    group.add_argument("--served-model", metavar="NAME", help="what the endpoint calls its model")
    group.add_argument(
        "--key-variable",
        metavar="NAME",
        help="environment variable that holds the endpoint's key",
    )


def strict_flag(group: argparse._ActionsContainer) -> None:
    """`--strict`: data is used as it is or not at all."""
    group.add_argument(
        "--strict",
        action="store_true",
        help="refuse data of which anything would be dropped or changed",
    )
