"""`lavallama segment`, also `python -m pipelines.segment`: find objects on pictures and videos.

The same from Python: `open_predictor` (`pipelines.segmentation.segmenter`), which can be imported
from here too, gives a `seem.predictor.Predictor`.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grounding.errors import OutputError
from pipelines.console import guarded, quiet_libraries
from pipelines.segmentation.options import PROG, segment_options

if TYPE_CHECKING:
    from grounding.prompt import GroundedPrompt
    from pipelines.segmentation.results import Segmentation
    from pipelines.segmentation.segmenter import open_predictor
    from seem.predictor import Predictor

__all__ = ["main", "open_predictor"]


def __getattr__(name: str) -> Any:
    """Import the Python API on first use (PEP 562)."""
    if name == "open_predictor":
        from pipelines.segmentation.segmenter import open_predictor

        return open_predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The options; default those of the process.

    Returns:
        The exit code: 0, or 2 after a one-line error.
    """
    options = segment_options(argv)
    return guarded(PROG, lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    quiet_libraries(transformers=False)
    if options.video:
        return _follow(options)
    coco, name = "coco" in options.save, Path(options.image).stem
    found = _found(options, name, coco=coco)
    written = found.save(options.out, name, coco=coco)
    for line in found.lines() or [_nothing(options)]:
        print(line)
    for path in written:
        print(path)
    return 0


def _nothing(options: argparse.Namespace) -> str:
    if options.mode == "semantic":
        return "nothing was found"
    return "nothing was found; a lower --threshold shows what is less certain"


def _found(options: argparse.Namespace, name: str, *, coco: bool) -> "Segmentation":
    """Check everything that was given, and only then load the model."""
    from grounding.picture_file import open_picture
    from grounding.prompt import Provenance
    from pipelines.segmentation.answer import answer, answer_everything
    from pipelines.segmentation.inquiry import read_inquiry
    from pipelines.segmentation.results import places

    image = open_picture(options.image)
    where = places(options.out, name, coco=coco, panoptic=options.mode == "panoptic")
    _check_places(where.values(), options)
    inquiry = read_inquiry(options, (image.height, image.width), spoken=_heard(options))
    if inquiry.document is not None and options.asr is not None:
        inquiry = replace(inquiry, document=_transcribed(inquiry.document, options))
    predictor = _load(options)
    predictor.set_image(image)
    if options.mode is not None:
        found = answer_everything(
            predictor, image, options.mode, classes=options.classes, threshold=options.threshold
        )
    else:
        found = answer(
            predictor, image, inquiry, multimask=options.multimask, threshold=options.threshold
        )
    device = predictor.image.memory.mask_features.device.type
    model = _tell_model(predictor, options)
    return found.about(options.image, provenance=Provenance(model=model, device=device))


def _heard(options: argparse.Namespace) -> str | None:
    """What `--audio` says."""
    if options.audio is None:
        return None
    from pipelines.conversation.speech import load_recogniser, read_wav

    recording = read_wav(options.audio)
    heard = load_recogniser(options.asr, device=options.device, offline=options.offline)(recording)
    print(f"heard: {heard}")
    return heard


def _transcribed(document: "GroundedPrompt", options: argparse.Namespace) -> "GroundedPrompt":
    """A document whose recordings have their words."""
    from pipelines.conversation.speech import load_recogniser, transcribed

    hear = load_recogniser(options.asr, device=options.device, offline=options.offline)
    return transcribed(document, hear)


def _load(options: argparse.Namespace) -> "Predictor":
    from pipelines.segmentation.segmenter import open_predictor

    return open_predictor(
        options.model, device=options.device, offline=options.offline, grouping=options.grouping
    )


def _tell_model(predictor: "Predictor", options: argparse.Namespace) -> str:
    """The model that was asked; where the picture chose it, it is said."""
    from pipelines.segmentation.bundled import BundledPredictor

    if not isinstance(predictor, BundledPredictor):
        return options.model
    print(f"model: {predictor.asked}, by the picture (--model names another)")
    return predictor.asked


def _check_places(places: Iterable[Path], options: argparse.Namespace) -> None:
    """Refuse a place that cannot be written, or that holds what is being read."""
    from grounding.files import check_writable

    places = list(places)
    _check_inputs(places, options)
    check_writable(places)


def _check_inputs(places: Iterable[Path], options: argparse.Namespace) -> None:
    given = [options.image, options.mask, options.prompts, options.audio, *options.scribble]
    given += [reference.path for reference in options.reference]
    inputs = {Path(path).resolve() for path in given if path is not None}
    for place in places:
        if place.resolve() in inputs:
            raise OutputError(f"{place}: would be replaced while it is read: choose another --out")


def _follow(options: argparse.Namespace) -> int:
    """Follow objects through a video."""
    from grounding.document_paths import path_from
    from pipelines.segmentation.inquiry import read_inquiry
    from pipelines.segmentation.video import check_film_places, film_places, follow, show_objects
    from seem.frames import open_frames
    from seem.video import MEMORY, VideoPredictor

    frames, frame = open_frames(options.image), options.frame or 0
    places = film_places(options.out, Path(options.image).resolve().stem)
    _check_inputs(places.values(), options)
    check_film_places(places)
    shown = frames[frame]
    inquiry = read_inquiry(options, frames.size, spoken=_heard(options))
    opened = _load(options)
    predictor = opened.for_image(shown)
    model = _tell_model(opened, options)
    video = VideoPredictor(predictor, options.memory or MEMORY)
    video.init(frames)
    asked = show_objects(video, predictor, inquiry, frame, threshold=options.threshold)
    about = {
        "video": path_from(options.out, options.image),
        "model": model,
        "prompted": frame,
    }
    for line in follow(video, frames, asked, frame, places, about):
        print(line)
    for place in places.values():
        print(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
