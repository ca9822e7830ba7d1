"""Films in the layout of DAVIS 2017 (arXiv 1704.00675, https://davischallenge.org).

Axes: H W the frame.

    JPEGImages/480p/SEQUENCE/00000.jpg ...
    Annotations/480p/SEQUENCE/00000.png ...    palette images of ids; 0 background, 255 void
    ImageSets/2017/val.txt                     a sequence a line
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from grounding.drops import Dropped, Drops
from grounding.errors import PromptError
from grounding.picture_file import open_upright
from seem.data_file import read_image
from seem.evaluation.sample import Clip, Source

__all__ = ["LIST", "davis_source"]

LIST = Path("ImageSets", "2017", "val.txt")
FRAMES, IDS = Path("JPEGImages", "480p"), Path("Annotations", "480p")


def davis_source(folder: Path, *, limit: int | None = None) -> Source:
    """The validation set of a folder.

    Args:
        folder: Holds the three above.
        limit: Sequences at most.

    Raises:
        PromptError: one of them is missing.
    """
    try:
        names = (folder / LIST).read_text("utf-8").split()[:limit]
    except (OSError, UnicodeDecodeError):
        raise PromptError(f"{folder / LIST}: expected the names of sequences, one a line") from None
    if not names:
        raise PromptError(f"{folder / LIST}: expected the names of sequences; got none")
    for name in names:
        if Path(name).name.lstrip(".") != name or not (folder / FRAMES / name).is_dir():
            raise PromptError(
                f"{folder / LIST}: there is no sequence {name!r:.60} in {folder / FRAMES}"
            )

    drops = Drops(nouns=("films", "regions"))

    def clips() -> Iterator[Clip]:
        for name in names:
            try:
                yield _clip(folder, name)
            except PromptError as error:
                drops.picture(name, Dropped("a film that cannot be read", str(error)))

    return Source(
        what=f"DAVIS 2017 in {folder.name}, {len(names)} sequence{'s' * (len(names) != 1)}",
        tasks=("video",),
        usual=("video",),
        clip_count=len(names),
        clips=clips,
        drops=drops,
    )


def _clip(folder: Path, name: str) -> Clip:
    files = sorted((folder / FRAMES / name).glob("*.jpg"))
    if not files:
        raise PromptError(f"{folder / FRAMES / name}: expected frames, 00000.jpg and so on")
    frames = [read_image(file) for file in files]
    for file, frame in zip(files, frames, strict=True):
        if frame.shape != frames[0].shape:
            raise PromptError(
                f"{file}: all frames must have the first one's size of {frames[0].shape[1]} x "
                f"{frames[0].shape[0]} pixels; got {frame.shape[1]} x {frame.shape[0]}"
            )
    ids: list[np.ndarray | None] = []
    for file, frame in zip(files, frames, strict=True):
        path = folder / IDS / name / f"{file.stem}.png"
        ids.append(_ids(path, frame.shape[:2]) if path.exists() else None)
    if ids[0] is None:
        raise PromptError(
            f"{folder / IDS / name}: expected ids of the first frame, {files[0].stem}.png"
        )
    return Clip(name=name, frames=frames, ids=ids)


def _ids(path: Path, size: tuple[int, int]) -> np.ndarray:
    image = open_upright(path)
    mode, ids = image.mode, np.array(image)
    if mode not in ("P", "L") or ids.shape != size:
        raise PromptError(
            f"{path}: expected ids in a palette image of {size[1]} x {size[0]} pixels; got "
            f"{mode}, {ids.shape[1]} x {ids.shape[0]}"
        )
    return ids
