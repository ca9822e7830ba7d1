"""`lavallama chat`, also `python -m pipelines.chat`: ask about a picture.

The same from Python: `pipelines.speaker.open_speaker` and `ask`.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipelines.chat_options import PROG, chat_options
from pipelines.console import guarded, quiet_libraries

if TYPE_CHECKING:
    from PIL import Image

    from grounding.prompt import GroundedPrompt, Region

__all__ = ["main"]

PROMPT = "? "


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The options; default those of the process.

    Returns:
        The exit code: 0, or 2 after a one-line error.
    """
    options = chat_options(argv)
    return guarded(PROG, lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    """Check everything that was given, and only then load the model."""
    quiet_libraries()
    from pathlib import Path

    from grounding.files import check_writable
    from grounding.llava.document import with_question
    from pipelines.inquiry import open_picture
    from pipelines.speaker import ask, open_speaker

    picture = open_picture(options.image)
    document = _document(options, picture)
    if options.out is not None:
        check_writable([Path(options.out)])
    speaker = open_speaker(
        options.model,
        served_model=options.served_model,
        key_variable=options.key_variable,
        base=options.base,
        template=options.template,
        device=options.device,
        dtype=options.dtype,
        bits=options.bits,
        offline=options.offline,
    )
    pointed = tuple(region.id for region in document.regions)
    for question in _questions(options):
        before = len(document.regions)
        document = ask(
            speaker,
            with_question(document, question, pointed),
            picture,
            showing=options.show,
            dialect=options.dialect,
            decoding=_decoding(options),
            heard=_show,
        )
        print()
        for region in document.regions[before:]:
            print(_line(region, picture.size))
        pointed = ()  # what was pointed at stays in the conversation
    if options.out is not None:
        document.save(options.out)
        print(options.out)
    return 0


def _document(options: argparse.Namespace, picture: "Image.Image") -> "GroundedPrompt":
    """The picture and its regions, as a document that asks nothing yet."""
    from grounding.errors import PromptError
    from grounding.geometry import clip_xyxy, pixels_to_normalized
    from grounding.prompt import Canvas, GroundedPrompt, Region

    regions = []
    for place in options.region:
        box = clip_xyxy(pixels_to_normalized(place, picture.size))
        if box is None:
            raise PromptError(
                f"--region {','.join(f'{value:g}' for value in place)} lies beside the picture of "
                f"{picture.width} x {picture.height} pixels"
            )
        regions.append(Region(id=f"r{len(regions) + 1}", box=box))
    canvas = Canvas(width=picture.width, height=picture.height)
    return GroundedPrompt(canvas=canvas, image=options.image, regions=tuple(regions))


def _questions(options: argparse.Namespace) -> Iterator[str]:
    """The question, or those that are typed."""
    if options.question is not None:
        yield options.question
        return
    while True:
        if sys.stdin.isatty():
            print(PROMPT, end="", flush=True)
        line = sys.stdin.readline()
        if not line.strip():
            return
        yield line.strip()


def _decoding(options: argparse.Namespace):
    from grounding.llava.decoding import Decoding

    return Decoding(
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        seed=options.seed,
    )


def _show(part: str) -> None:
    print(part, end="", flush=True)


def _line(region: "Region", size: tuple[int, int]) -> str:
    """What was found where, in pixels."""
    from grounding.geometry import normalized_to_pixels

    if region.box is None:
        return f"{region.id} {region.phrase}".rstrip()
    place = ",".join(f"{value:.0f}" for value in normalized_to_pixels(region.box, size))
    return f"{region.id} {region.phrase} at {place}".replace("  ", " ")


if __name__ == "__main__":
    sys.exit(main())
