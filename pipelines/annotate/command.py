"""`lavallama annotate`, also `python -m pipelines.annotate`: raw pictures -> training data."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.console import Parser, guarded, quiet_libraries
from pipelines.flags import device_flag, endpoint_flags, offline_flag, strict_flag

if TYPE_CHECKING:
    from pipelines.annotate.settings import Settings

__all__ = ["main"]

PROG = "lavallama annotate"
KINDS = "gligen,seem,llava"
EPILOG = """\
examples:
  lavallama annotate photos --out annotated
  lavallama annotate photos --out annotated --segmenter seem-focalt --model llava-1.5-7b \\
    --embedder openai/clip-vit-base-patch32
  lavallama annotate photos --out annotated --shard 0/4    # and 1/4, 2/4, 3/4, anywhere; then
  lavallama annotate photos --out annotated                # without --shard, to join them
  lavallama train gligen --data annotated/gligen.jsonl --runs runs/mine
  lavallama train seem --data annotated --runs runs/mine

Captions of PICTURE.jpg are the lines of PICTURE.txt, or "caption", "captions" or "prompt" of
PICTURE.json. Their noun phrases are found on the picture, and so are the vocabulary's names.
Without a caption the model named by --model writes one; without a model it is made by rule from
what was found ("made by rule" in the document's provenance).

A run that was stopped goes on where it was. report.json counts what was dropped, and why;
dropped.jsonl names all of it. --strict opens all pictures first, and refuses those that cannot be
used, those that are twice there, and captions of none.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The options; default those of the process.

    Returns:
        The exit code: 0, or 2 after a one-line error.
    """
    options = _parser().parse_args(argv)
    return guarded(PROG, lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} FOLDER --out DIR [options]",
        description="Annotate pictures with captions, phrases, boxes and masks, to train on them.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=Path, help="of pictures, and folders of them")
    add("--out", metavar="DIR", type=Path, required=True, help="where everything goes")
    add("--captions", metavar="FILE", type=Path, help="COCO captions, or an object by file name")
    add("--for", dest="kinds", default=KINDS, help=f"what is written; default {KINDS}")
    add("--tar", metavar="N", type=int, default=0, help="also webdataset shards of N pictures")
    strict_flag(parser)
    _models(parser.add_argument_group("with which models"))
    _limits(parser.add_argument_group("what is kept"))
    _sharing(parser.add_argument_group("who does it"))
    return parser


def _models(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--segmenter", metavar="NAME", default="embedded", help="a SEEM; default embedded")
    add("--embedder", metavar="NAME",
        help="tells what a region is: a CLIP, as classify --model, or none; "
        "default embedded with the embedded segmenter, else none")  # fmt: skip
    add("--vocabulary", metavar="FILE", type=Path,
        help="names to look for, a line each, or JSON: things, stuff, attributes; "
        "default the segmenter's own")  # fmt: skip
    add("--model", metavar="MODEL", help="a chat model that writes captions, or http(s)://HOST/v1")
    endpoint_flags(group)
    device_flag(group)
    offline_flag(group, "for files")


def _limits(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--min-score", metavar="S", type=float, default=0.5, help="least score; default 0.5")
    add("--min-area", metavar="A", type=float, default=0.01,
        help="least share of the picture that a box has; default 0.01, as GLIGEN")  # fmt: skip
    add("--max-regions", metavar="N", type=int, default=30, help="of a picture; default 30")
    add("--overlap", metavar="IOU", type=float, default=0.5,
        help="of two masks that are one thing; default 0.5")  # fmt: skip
    add("--agreement", metavar="IOU", type=float, default=0.5,
        help="least IoU of a mask with what its own box shows; default 0.5")  # fmt: skip


def _sharing(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--shard", metavar="I/N", default="0/1", help="do the I-th of N parts, write no data yet")
    add("--workers", metavar="N", type=int, default=1, help="processes, of a thread each")
    add("--ray", action="store_true", help='on a Ray cluster (pip install -e ".[cluster]")')


def _run(options: argparse.Namespace) -> int:
    quiet_libraries()
    from grounding.drops import DROPPED, Drops
    from grounding.errors import LavallamaError
    from pipelines.annotate.dataset import Dataset
    from pipelines.annotate.raw import count_unusable, list_pictures, read_captions

    kinds = [kind for kind in options.kinds.split(",") if kind]
    if unknown := [kind for kind in kinds if kind not in KINDS.split(",")]:
        raise LavallamaError(f"--for takes {KINDS}; got {', '.join(unknown)}")
    if options.tar < 0 or options.workers < 1:
        raise LavallamaError("--workers must be at least 1, --tar at least 0")
    shard = _shard(options.shard)
    settings = _settings(options)
    captions = None if options.captions is None else read_captions(options.captions)
    unusable = Drops() if options.strict else None
    raws = list_pictures(options.folder, captions, without=options.out, drops=unusable)
    if unusable is not None:
        count_unusable([raw for raw in raws if raw.is_in(shard)], unusable)
        unusable.refuse(options.folder)
    dataset = Dataset(folder=options.out, settings=settings)
    count = dataset.annotate(raws, shard=shard, workers=options.workers, ray=options.ray)
    print(f"{count} pictures annotated")
    if shard[1] > 1:
        return 0
    drops = dataset.write(raws, kinds, options.tar)
    for line in drops.lines():
        print(line)
    if not drops.pictures:
        raise LavallamaError(
            f"{options.folder}: nothing is left to train on; {options.out / DROPPED} says why"
        )
    print(options.out)
    return 0


def _settings(options: argparse.Namespace) -> "Settings":
    from grounding.errors import LavallamaError
    from pipelines.annotate.settings import Settings, read_names

    for name in ("min_score", "min_area", "overlap", "agreement"):
        value = getattr(options, name)
        if not 0 <= value <= 1:
            raise LavallamaError(f"--{name.replace('_', '-')} must lie in 0..1; got {value:g}")
    if options.max_regions < 1:
        raise LavallamaError(f"--max-regions must be at least 1; got {options.max_regions}")
    names = None if options.vocabulary is None else read_names(options.vocabulary)
    same = (
        *("segmenter", "embedder", "model", "served_model", "key_variable"),
        *("min_score", "min_area", "max_regions", "overlap", "agreement", "device", "offline"),
    )
    return Settings(names=names, **{name: getattr(options, name) for name in same})


def _shard(text: str) -> tuple[int, int]:
    """Read "I/N"."""
    from grounding.errors import LavallamaError

    index, _, count = text.partition("/")
    if index.isdecimal() and count.isdecimal() and int(index) < int(count):
        return int(index), int(count)
    raise LavallamaError(f"--shard is I/N with I from 0 to N - 1, such as 0/4; got {text!r:.40}")
