"""`lavallama chat`, also `python -m pipelines.chat`: ask about a picture.

The same from Python: `pipelines.conversation.speaker.open_speaker` and `ask`.
"""

import argparse
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from pipelines.console import guarded, quiet_libraries
from pipelines.conversation.options import PROG, chat_options

if TYPE_CHECKING:
    from PIL import Image

    from grounding.prompt import AudioContent, GroundedPrompt, Region

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
    from grounding.llava.document import with_question
    from grounding.picture_file import open_picture
    from pipelines.conversation.speaker import ask, open_speaker

    picture = open_picture(options.image)
    document = _document(options, picture)
    _check_places(options)
    questions = _questions(options, _heard(options))
    segment = _segmenter(options, picture)
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
    for question in questions:
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
        document = segment(document, {region.id for region in document.regions[before:]})
        for region in document.regions[before:]:
            print(_line(region, picture.size))
        pointed = ()  # what was pointed at stays in the conversation
    for place in _written(options, document, picture):
        print(place)
    return 0


def _check_places(options: argparse.Namespace) -> None:
    """Refuse places that cannot be written, or that hold what is read."""
    from pathlib import Path

    from grounding.errors import OutputError
    from grounding.files import check_writable

    places = [Path(place) for place in (options.out, options.overlay) if place is not None]
    taken = {Path(path).resolve() for path in (options.image, options.audio) if path is not None}
    for place in places:
        if place.resolve() in taken:
            raise OutputError(f"{place}: would be replaced; choose another --out or --overlay")
        taken.add(place.resolve())
    check_writable(places)


def _heard(options: argparse.Namespace) -> "AudioContent | None":
    """The question of `--audio`, with its words."""
    if options.audio is None:
        return None
    from grounding.prompt import AudioContent
    from pipelines.conversation.speech import load_recogniser, read_wav

    recording = read_wav(options.audio)
    hear = load_recogniser(options.asr, device=options.device, offline=options.offline)
    words = hear(recording)
    print(f"heard: {words}")
    return AudioContent(type="audio", audio=options.audio, transcript=words)


def _segmenter(
    options: argparse.Namespace, picture: "Image.Image"
) -> "Callable[[GroundedPrompt, Collection[str]], GroundedPrompt]":
    """What gives regions their masks; without `--masks`, nothing does."""
    if options.masks is None:
        return lambda document, ids: document
    from pipelines.segmentation.masks import with_masks
    from pipelines.segmentation.segmenter import open_predictor

    predictor = open_predictor(options.masks, device=options.device, offline=options.offline)
    predictor.set_image(picture)
    return lambda document, ids: with_masks(document, predictor, ids)


def _written(
    options: argparse.Namespace, document: "GroundedPrompt", picture: "Image.Image"
) -> list[str]:
    """Write what is asked for, all or nothing; where it is."""
    import io
    import json
    from pathlib import Path

    from grounding.document_paths import name_from, path_from
    from grounding.draw import draw_found
    from grounding.files import write_files

    contents: dict[Path, bytes] = {}
    if options.overlay is not None:
        file = io.BytesIO()
        draw_found(picture, document).save(file, "PNG", optimize=True)
        contents[Path(options.overlay)] = file.getvalue()
    if options.out is not None:
        folder = Path(options.out).parent
        document = name_from(document, folder)
        if options.overlay is not None:
            overlay = path_from(folder, options.overlay)
            document = document.replace(files={**document.files, "overlay": overlay})
        text = json.dumps(document.to_dict(), indent=2, ensure_ascii=False) + "\n"
        contents[Path(options.out)] = text.encode()
    write_files(contents, last=None if options.out is None else Path(options.out))
    return [str(place) for place in contents]


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


def _questions(
    options: argparse.Namespace, heard: "AudioContent | None"
) -> "Iterator[str | AudioContent]":
    """The question, or those that are typed."""
    given = heard or options.question
    if given is not None:
        yield given
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
    covered = 0 if region.mask is None else sum(region.mask.runs()[1::2])
    said = f"{region.id} {region.phrase} at {place}".replace("  ", " ")
    return f"{said}, {covered} pixels" if covered else said


if __name__ == "__main__":
    sys.exit(main())
