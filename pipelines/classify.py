"""`lavallama classify`, also `python -m pipelines.classify`: which label fits a picture.

The same from Python: `pipelines.retrieval.embedders.open_embedder` and
`pipelines.retrieval.classifier.Classifier`.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence

from grounding.errors import PromptError
from pipelines.console import EXIT_ERROR, Parser, guarded, quiet_libraries
from pipelines.flags import device_flag, offline_flag
from pipelines.generation.options import whole

__all__ = ["main"]

log = logging.getLogger(__name__)

PROG = "lavallama classify"
SETS = ("plain", "photo", "sticker")

_DESCRIPTION = """\
Say which of some labels each picture fits, or how well captions fit it, without training: with a
CLIP, or with the embedded model, which knows stickers.
"""

_EPILOG = """\
examples:
  lavallama classify llama.png --labels "lava llama,ice llama,gold dog"
  lavallama classify *.jpg --labels "cat,dog" --model openai/clip-vit-base-patch32 --templates photo
  lavallama classify photo.jpg --caption "a dog on a beach" --model openai/clip-vit-base-patch32
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The options; default those of the process.

    Returns:
        The exit code: 0, or 2 after a one-line error.
    """
    options = _options(argv)
    return guarded(PROG, lambda: _run(options))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} IMAGE... --labels NAMES [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("image", metavar="IMAGE", nargs="+", help="a picture")
    group = parser.add_argument_group("what it is compared with")
    group.add_argument("--labels", metavar="NAMES", type=_names, help="with commas")
    group.add_argument(
        "--templates",
        choices=SETS,
        metavar="NAME",
        help=f"the sentences that labels stand in: {', '.join(SETS)} (default: plain)",
    )
    group.add_argument(
        "--template",
        metavar="TEXT",
        action="append",
        default=[],
        help='a sentence of your own, such as "a painting of the {}."; can be repeated',
    )
    group.add_argument(
        "--caption",
        metavar="TEXT",
        action="append",
        default=[],
        help="say how well this text fits instead: cosine and CLIPScore; can be repeated",
    )
    group = parser.add_argument_group("how to answer")
    group.add_argument(
        "--top", metavar="N", type=whole(1, 10_000), default=5, help="labels shown (default: 5)"
    )
    group.add_argument("--json", action="store_true", help="one line of JSON for each picture")
    group = parser.add_argument_group("with which model")
    group.add_argument(
        "--model",
        metavar="MODEL",
        default="embedded",
        help="embedded, a folder or hub id of a CLIP, or module:name (default: embedded)",
    )
    device_flag(group)
    offline_flag(group)
    options = parser.parse_args(argv)
    if bool(options.labels) == bool(options.caption):
        parser.error("say what to compare with: --labels or --caption, one of them")
    if options.caption and (options.templates or options.template):
        parser.error("--templates and --template are for --labels")
    if options.templates and options.template:
        parser.error("--template replaces --templates: give one of them")
    return options


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"must be different names with commas, got {text!r}")
    return names


def _run(options: argparse.Namespace) -> int:
    """Check everything that was given, and only then load the model."""
    quiet_libraries()
    from PIL.Image import Image

    from grounding.picture_file import open_picture
    from pipelines.retrieval.classifier import TEMPLATES, Classifier
    from pipelines.retrieval.embedders import open_embedder

    pictures, broken = dict[str, Image](), []
    for path in options.image:
        try:
            pictures[path] = open_picture(path)
        except PromptError as error:
            broken.append(error)
    if not pictures:
        raise broken[0]
    templates = tuple(options.template) or TEMPLATES[options.templates or "plain"]
    embedder = open_embedder(options.model, device=options.device, offline=options.offline)
    classifier = Classifier(embedder=embedder, templates=templates)
    for path, picture in pictures.items():
        if options.caption:
            [values] = classifier.similarities([picture], options.caption).tolist()
            _tell_captions(path, dict(zip(options.caption, values, strict=True)), options)
        else:
            [values] = classifier.probabilities([picture], options.labels).tolist()
            _tell_labels(path, dict(zip(options.labels, values, strict=True)), options)
    for error in broken:
        log.error("%s", error)
    return EXIT_ERROR if broken else 0


def _tell_labels(path: str, chances: dict[str, float], options: argparse.Namespace) -> None:
    """Print the likeliest labels."""
    best = sorted(chances.items(), key=lambda item: -item[1])[: options.top]
    if options.json:
        print(json.dumps({"image": path, "labels": dict(best)}, ensure_ascii=False))
    else:
        print(f"{path}: " + ", ".join(f"{name} {chance:.2f}" for name, chance in best))


def _tell_captions(path: str, cosines: dict[str, float], options: argparse.Namespace) -> None:
    """Print how well each caption fits, the best first."""
    from pipelines.retrieval.classifier import clip_score

    best = sorted(cosines.items(), key=lambda item: -item[1])
    if options.json:
        captions = {
            text: {"cosine": cosine, "clip_score": clip_score(cosine)} for text, cosine in best
        }
        print(json.dumps({"image": path, "captions": captions}, ensure_ascii=False))
    else:
        for text, cosine in best:
            print(f"{path}: {text}: cosine {cosine:.3f}, CLIPScore {clip_score(cosine):.3f}")


if __name__ == "__main__":
    sys.exit(main())
