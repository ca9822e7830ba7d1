"""`lavallama search`, also `python -m pipelines.search`: find pictures by text, picture or sound.

The same from Python: `pipelines.retrieval.file_index.build_index`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grounding.cache_folder import cache_folder
from pipelines.console import EXIT_ERROR, Parser, guarded, quiet_libraries
from pipelines.flags import device_flag, offline_flag
from pipelines.generation.options import whole

if TYPE_CHECKING:
    from grounding.embedder import Embedder, Item

__all__ = ["main"]

PROG = "lavallama search"

_DESCRIPTION = """\
Find the pictures of a folder, or the recordings (WAV) with a CLAP, that are nearest to a text, a
picture or a recording; of several, to their mean. What a model has read once is remembered.
"""

_EPILOG = """\
examples:
  lavallama search stickers --text "lava llama"
  lavallama search photos --image dog.jpg --text "in the snow" --model openai/clip-vit-base-patch32
  lavallama search photos --audio question.wav --asr openai/whisper-base --model my-clip
  lavallama search sounds --text "a dog barks" --model laion/clap-htsat-unfused
  PYTHONPATH=. lavallama search photos --audio bark.wav --model my_imagebind:ImageBind

The last one is a plug-in, my_imagebind.py: the module grounding.embedder says what it must give.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The options; default those of the process.

    Returns:
        The exit code: 0, or 2 after a one-line error, or if files could not be read.
    """
    options = _options(argv)
    return guarded(PROG, lambda: _run(options))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} FOLDER --text TEXT [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("folder", metavar="FOLDER", help="with what is searched")
    group = parser.add_argument_group("what to look for; each can be repeated")
    for name, kind, what in (
        ("text", "TEXT", "words"),
        ("image", "FILE", "a picture"),
        ("audio", "WAV", "a recording: what it sounds like, or with --asr what is said in it"),
    ):
        group.add_argument(f"--{name}", metavar=kind, action="append", default=[], help=what)
    group.add_argument("--asr", metavar="PATH|ID", help="a speech recogniser, such as a Whisper")
    group = parser.add_argument_group("how to answer")
    group.add_argument(
        "--top", metavar="N", type=whole(1, 1_000_000), default=10, help="files (default: 10)"
    )
    group.add_argument("--json", action="store_true", help="one line of JSON")
    group = parser.add_argument_group("with which model")
    group.add_argument(
        "--model",
        metavar="MODEL",
        default="embedded",
        help="embedded (single stickers), a folder or hub id of a CLIP or CLAP, or module:name, a "
        "plug-in (default: embedded)",
    )
    device_flag(group)
    offline_flag(group)
    group.add_argument(
        "--cache",
        metavar="DIR",
        type=Path,
        help="where what was read is remembered (default: ~/.cache/lavallama/embeddings, or "
        "where LAVALLAMA_CACHE says)",
    )
    options = parser.parse_args(argv)
    if not (options.text or options.image or options.audio):
        parser.error("say what to look for: --text, --image or --audio")
    if options.asr and not options.audio:
        parser.error("--asr is for --audio")
    return options


def _run(options: argparse.Namespace) -> int:
    """Check everything that was given, and only then read the folder."""
    quiet_libraries()
    from pipelines.retrieval.embedders import open_embedder
    from pipelines.retrieval.file_index import build_index

    wanted = _wanted(options)
    embedder = open_embedder(options.model, device=options.device, offline=options.offline)
    _check(embedder, wanted)
    remembered = options.cache or cache_folder("embeddings")
    index = build_index(options.folder, embedder, remembered=remembered)
    hits = index.search(wanted, count=options.top)
    if options.json:
        found = [{"path": str(hit.path), "score": round(hit.score, 4)} for hit in hits]
        print(json.dumps({"found": found}, ensure_ascii=False))
    else:
        for hit in hits:
            print(f"{hit.score:.3f}  {hit.path}")
    return EXIT_ERROR if index.broken else 0


def _wanted(options: argparse.Namespace) -> "list[Item]":
    """What to look for, read."""
    from grounding.picture_file import open_picture
    from grounding.recording import read_wav
    from pipelines.conversation.speech import load_recogniser

    recordings = [read_wav(path) for path in options.audio]
    wanted: list[Item] = [*options.text, *(open_picture(path) for path in options.image)]
    if not options.asr:
        return [*wanted, *recordings]
    hear = load_recogniser(options.asr, device=options.device, offline=options.offline)
    said = [hear(recording) for recording in recordings]
    for words in said:
        print(f"heard: {words}", file=sys.stderr)
    return [*wanted, *said]


def _check(embedder: "Embedder", wanted: "Sequence[Item]") -> None:
    """Refuse what the model cannot read, before it reads a whole folder."""
    from grounding.embedder import check_modality, modality_of
    from grounding.errors import PromptError

    for item in wanted:
        if modality_of(item) == "audio" and "audio" not in embedder.modalities:
            raise PromptError(
                f"{embedder.name} hears no sounds: say --asr to look for what is said in it, or "
                "choose a model of sounds with --model"
            )
        check_modality(embedder, modality_of(item))


if __name__ == "__main__":
    sys.exit(main())
