"""Objects of a video, followed and written frame by frame: `lavallama segment --video`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from grounding.draw import draw_found
from grounding.errors import OutputError, PromptError
from grounding.files import check_writable
from grounding.masks import bitmap_to_box, bitmap_to_rle
from grounding.prompt import Canvas, GroundedPrompt
from grounding.region import Region
from pipelines.segmentation.answer import LEAST_SCORE, find_words, questions
from pipelines.segmentation.inquiry import Inquiry
from pipelines.segmentation.results import id_picture
from seem.frames import Frames
from seem.marks import Marks
from seem.predictor import Predictor
from seem.question import Question
from seem.video import VideoPredictor

__all__ = ["check_film_places", "film_places", "follow", "show_objects"]

CODEC = "mp4v"  # MPEG-4 part 2: in every build of OpenCV
MASK_NAME = re.compile(r"\d{5,}\.png")


def film_places(folder: str | Path, name: str) -> dict[str, Path]:
    """Where each result will go; "masks" is a folder."""
    folder = Path(folder)
    return {
        "overlay": folder / f"{name}.overlay.mp4",
        "masks": folder / f"{name}.masks",
        "document": folder / f"{name}.json",
    }


def check_film_places(places: Mapping[str, Path]) -> None:
    """Find out before any work is done whether results can be written.

    Raises:
        OutputError: One cannot, or the folder of masks holds something else.
    """
    check_writable([places["overlay"], places["document"], places["masks"] / "00000.png"])
    masks = places["masks"]
    if masks.is_dir():
        strange = [file.name for file in masks.iterdir() if not MASK_NAME.fullmatch(file.name)]
        if strange:
            raise OutputError(
                f"{masks}: would be replaced, but holds {strange[0]}, which is no mask of ours: "
                "choose another --out"
            )


def show_objects(
    video: VideoPredictor,
    predictor: Predictor,
    inquiry: Inquiry,
    frame: int,
    *,
    threshold: float | None = None,
) -> list[Region]:
    """Add everything that is asked about on a frame as objects 1, 2, ...

    Args:
        video: With its frames.
        predictor: Its predictor.
        inquiry: What is asked about the frame.
        frame: Its number.
        threshold: The least score of what a text finds.

    Returns:
        What was asked, one region an object.

    Raises:
        PromptError: There is nothing to follow.
    """
    if inquiry.document is not None:
        raise PromptError("--video takes --point, --box, --text and the like, not --prompts")
    if inquiry.subjects:
        for number, question in enumerate(questions(predictor, inquiry), start=1):
            video.ask(frame, number, question)
        return [subject.region() for subject in inquiry.subjects]
    predictor.set_image(video.frames[frame])
    least = LEAST_SCORE if threshold is None else threshold
    asked = []
    for found in find_words(predictor, inquiry, least):
        for mask in found.masks.cpu().numpy():
            asked.append(Region(phrase=found.text))
            video.ask(frame, len(asked), Question(marks=Marks(mask=mask)))
    if not asked:
        said = (*inquiry.texts, *([inquiry.spoken] if inquiry.spoken else []))
        raise PromptError(
            f"frame {frame} shows nothing of {', '.join(map(repr, said))}: choose another "
            "--frame, or lower --threshold"
        )
    return asked


def follow(
    video: VideoPredictor,
    frames: Frames,
    asked: list[Region],
    frame: int,
    places: Mapping[str, Path],
    about: Mapping[str, Any],
) -> list[str]:
    """Follow the objects in both directions from a frame, and write everything or nothing.

    Args:
        video: With its objects.
        frames: The video.
        asked: What was asked about each object.
        frame: The frame of the prompts.
        places: From `film_places`.
        about: What else the document says.

    Returns:
        One line an object.

    Raises:
        OutputError: Something cannot be written.
    """
    seen: dict[int, dict[int, Region]] = {}
    with _workshop(places) as made:
        made["masks"].mkdir()
        walks = [(frame, False), *([(frame - 1, True)] if frame else [])]
        with tqdm(total=len(frames), unit="frame", disable=None, leave=False) as bar:
            for start, reverse in walks:
                for index, masks in video.propagate(start, reverse=reverse):
                    seen[index] = _regions(masks, asked)
                    _id_picture(masks).save(made["masks"] / f"{index:05d}.png", optimize=True)
                    bar.update()
        _film(frames, seen, asked, frame, made["overlay"])
        made["document"].write_text(_document(frames, seen, about), encoding="utf-8")
    lines = []
    for number, region in enumerate(asked, start=1):
        shown = [index for index in sorted(seen) if seen[index][number].box is not None]
        label = " ".join(region.phrase.split()) or "object"
        span = f"frames {shown[0]} to {shown[-1]}" if shown else "nowhere"
        lines.append(f"{number}  {label}  on {len(shown)} of {len(seen)} frames, {span}")
    return lines


def _regions(masks: Mapping[int, Tensor], asked: list[Region]) -> dict[int, Region]:
    """The objects of a frame; those that are not there have no box."""
    found = {}
    for number, mask in masks.items():
        bitmap = mask.cpu().numpy()
        box = bitmap_to_box(bitmap)
        found[number] = Region(
            id=str(number),
            phrase=asked[number - 1].phrase,
            mask=None if box is None else bitmap_to_rle(bitmap),
            box=box,
        )
    return found


def _id_picture(masks: Mapping[int, Tensor]) -> Image.Image:
    first = next(iter(masks.values()))
    ids = np.zeros(first.shape, np.int32)
    for number, mask in masks.items():
        ids[mask.cpu().numpy()] = number
    return id_picture(ids)


def _film(
    frames: Frames,
    seen: Mapping[int, Mapping[int, Region]],
    asked: list[Region],
    prompted: int,
    path: Path,
) -> None:
    """Write the overlay; the second walk through the frames that this takes is cheap."""
    writer = None
    try:
        for index, picture in frames.walk():
            if index not in seen:
                continue
            found = GroundedPrompt(regions=tuple(seen[index].values()))
            marks = asked if index == prompted else ()
            drawn = np.asarray(draw_found(Image.fromarray(picture), found, marks))
            drawn = drawn[: drawn.shape[0] // 2 * 2, : drawn.shape[1] // 2 * 2]  # codecs want even
            if writer is None:
                size = (drawn.shape[1], drawn.shape[0])
                code = cv2.VideoWriter.fourcc(*CODEC)
                writer = cv2.VideoWriter(str(path), code, frames.fps, size)
                if not writer.isOpened():
                    raise OutputError(f"{path}: this OpenCV cannot write MP4 videos")
            writer.write(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    finally:
        if writer is not None:
            writer.release()


def _document(
    frames: Frames, seen: Mapping[int, Mapping[int, Region]], about: Mapping[str, Any]
) -> str:
    """One prompt document a frame."""
    height, width = frames.size
    listed = []
    for index in sorted(seen):
        regions = tuple(region for region in seen[index].values() if region.box is not None)
        document = GroundedPrompt(canvas=Canvas(width=width, height=height), regions=regions)
        listed.append({"frame": index, "document": document.to_dict()})
    content = {**about, "fps": frames.fps, "frames": listed}
    return json.dumps(content, ensure_ascii=False) + "\n"


@contextlib.contextmanager
def _workshop(places: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    """Places to work in, which become the real ones if all goes well."""
    folder = places["document"].parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".lavallama.") as rough:
            made = {kind: Path(rough) / path.name for kind, path in places.items()}
            yield made
            places["document"].unlink(missing_ok=True)  # it speaks of the others, and comes last
            for kind, path in places.items():
                if path.is_dir():
                    shutil.rmtree(path)
                os.replace(made[kind], path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"cannot write {error.filename or folder}: {reason}") from error
