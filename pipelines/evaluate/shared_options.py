"""Options that all evaluations have."""

import argparse

from grounding.stickers.world import PRESETS
from pipelines.flags import strict_flag
from pipelines.generation.options import whole

__all__ = ["data_options", "names"]


def data_options(group, data: str, counted: str) -> None:
    """Add what is measured on.

    Args:
        group: Of a parser.
        data: What `--data` may be.
        counted: What `--limit` counts.
    """
    group.add_argument(
        "--data", metavar="PATH", default="stickers", help=f"{data} (default: stickers)"
    )
    group.add_argument(
        "--preset", choices=sorted(PRESETS), default="small", help="the sticker world"
    )
    group.add_argument(
        "--scenes",
        metavar="N",
        type=whole(2, 100_000),
        default=300,
        help="of the sticker world (default: 300)",
    )
    group.add_argument(
        "--limit",
        metavar="N",
        type=whole(1, 10_000_000),
        help=f"{counted} at most (default: all)",
    )
    strict_flag(group)


def names(text: str) -> tuple[str, ...]:
    """Read different names with commas.

    Raises:
        argparse.ArgumentTypeError: They are not.
    """
    read = tuple(part.strip() for part in text.split(","))
    if not all(read) or len(set(read)) < len(read):
        raise argparse.ArgumentTypeError(f"must be different names with commas, got {text!r}")
    return read
