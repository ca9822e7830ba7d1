"""The options of `lavallama train gligen`: read and checked before anything heavy is imported."""

import argparse
from pathlib import Path

from pipelines.console import Parser
from pipelines.flags import device_flag, offline_flag, part_flags, strict_flag

__all__ = ["PROG", "train_gligen_parser"]

PROG = "lavallama train gligen"
MODALITIES = ("text", "text_image", "keypoint", "hed", "canny", "depth", "normal", "sem")

_EPILOG = """\
--data:
  stickers                the sticker world, rendered (the default)
  instances_mine.json     COCO instances; pictures beside it, or in "images"; with --captions
  FOLDER                  each picture with a document of its name: .json in any of our formats
  mine.jsonl              a prompt document a line; "image" is relative to the file
  'mine-{000..009}.tar'   webdataset shards: jpg, png or webp with json (needs .[train])

examples:
  lavallama train gligen --data instances_mine.json --captions captions_mine.json --runs runs/mine
  lavallama train gligen --data photos/ --model sd15 --runs runs/photos --batch 4 --accumulate 8 \\
    --precision bf16 --checkpointing --ema 0.9999
  lavallama train gligen --data photos/ --model sd15 --runs runs/photos --export my-adapter
  accelerate launch -m pipelines.train gligen --data photos/ --model sd15 --runs runs/photos

A run goes on where it stopped. Its folder holds checkpoints, log.jsonl, data.json (how much was
dropped and why; dropped.jsonl names all of it), sample grids, and TensorBoard's files where
tensorboard is installed.
"""


def train_gligen_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} [--data DATA] [--model NAME] [options]",
        description="Train a GLIGEN adapter on your own pictures, over a base that stays frozen.",
        epilog=_EPILOG,
    )
    _data(parser.add_argument_group("what to learn from"))
    _model(parser.add_argument_group("what to train"))
    _training(parser.add_argument_group("how"))
    _run(parser.add_argument_group("the run"))
    _results(parser.add_argument_group("the results; these train nothing"))
    return parser


def _data(group) -> None:
    add = group.add_argument
    add("--data", default="stickers", metavar="DATA", help="see below; default stickers")
    add("--captions", type=Path, metavar="FILE", help="COCO captions, for COCO instances")
    add("--scenes", type=int, default=6000, help="sticker scenes to render; default 6000")
    add("--cache", type=Path, help="folder of latents and embeddings; default beside the run")
    add("--size", metavar="WxH", help="pixels of a picture; default the model's own")
    add("--max-aspect", type=float, default=2.0, help="of the aspect buckets; 1: one size alone")
    add("--flip", type=float, help="share that is mirrored; default 0.5, of stickers 0")
    add("--held-out", type=int, default=32, help="pictures kept apart, to measure on; default 32")
    add("--prepare-only", action="store_true", help="fill the cache, report, and stop")
    strict_flag(group)


def _model(group) -> None:
    add = group.add_argument
    add("--model", default="embedded", metavar="NAME", help="the frozen base, as generate has it")
    part_flags(group)
    add("--init", metavar="ADAPTER", help="an adapter to go on from; default: a fresh one")
    add(
        "--init-style",
        choices=("residual", "zero"),
        default="residual",
        help="of a fresh one: residual (open gates on silent branches) or zero (GLIGEN's closed "
        "gates); default residual",
    )
    add(
        "--modality", choices=MODALITIES, default="text", metavar="KIND", help=", ".join(MODALITIES)
    )
    add("--inpainting", action="store_true", help="it redraws boxes; for text and text_image")
    add("--places", action="store_true", help="tell visual tokens their places (our layout only)")
    add("--field", type=int, default=0, metavar="WIDTH", help="a box field (our layout only)")
    add("--image-encoder", metavar="PATH", help="for text_image: as generate has it")
    offline_flag(group)


def _training(group) -> None:
    add = group.add_argument
    add("--steps", type=int, default=20_000, help="default 20000")
    add("--batch", type=int, default=16, help="pictures of a process's batch; default 16")
    add("--accumulate", type=int, default=1, help="batches of a step; default 1")
    add("--learning-rate", type=float, default=5e-5, help="at its peak; default 5e-5")
    add("--warmup", type=int, default=1000, help="steps of warm-up; default 1000")
    add("--schedule", choices=("constant", "cosine"), default="constant", help="after it")
    add("--weight-decay", type=float, default=0.0, help="AdamW's; default 0")
    add("--ema", type=float, default=0.0, help="decay of the weights' average; default 0: none")
    add("--precision", choices=("no", "bf16"), help="default: as accelerate's config says")
    add("--checkpointing", action="store_true", help="less memory, more time")
    add("--shard", action="store_true", help="each process holds a share of base and adapter")
    add("--grounding-dropout", type=float, default=0.1, help="default 0.1")
    add("--caption-dropout", type=float, default=0.5, help="default 0.5")
    add("--box-weight", type=float, default=1.0, help="extra weight of errors in boxes; default 1")
    add("--teach", type=float, default=0.02, help="weight of the taught attention; default 0.02")
    add("--min-snr", type=float, default=0.0, help="gamma, 5 in the paper; default 0: off")
    add("--seed", type=int, default=0, help="default 0")
    device_flag(group)


def _run(group) -> None:
    add = group.add_argument
    add("--runs", type=Path, default=Path("runs/gligen"), help="its folder; default runs/gligen")
    add("--save-every", type=int, default=500, help="steps between checkpoints; default 500")
    add("--sample-every", type=int, default=1000, help="steps between measurements; default 1000")
    add("--sample-steps", type=int, help="denoising steps of them; default the model's own")
    add("--log-every", type=int, default=50, help="steps between lines of the log; default 50")
    add("--keep", type=int, default=2, help="checkpoints that stay, beside the best; default 2")
    add(
        "--detector",
        metavar="NAME",
        help="who looks at held-out pictures: judge (stickers), none, seem, or a detector of "
        "transformers; default judge for stickers, else none",
    )
    add("--wandb", metavar="PROJECT", help="tell Weights & Biases too")


def _results(group) -> None:
    add = group.add_argument
    add("--export", type=Path, metavar="FOLDER", help="write the adapter and its model card")
    add("--checkpoint", default="last", metavar="WHICH", help="last, best, or a step; default last")
    add("--push-to-hub", metavar="NAME", help="upload what is exported")
