"""Frames of a video, one at a time: from a video file, or from a folder of pictures.

Axes: H W a frame in pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from grounding.errors import PromptError
from grounding.picture_file import open_picture

__all__ = ["Frames", "open_frames"]

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FPS = 25.0  # of a folder of pictures, and of files that do not say
DIGITS = re.compile(r"(\d+)")

Frame = UInt8[np.ndarray, "H W 3"]


class Frames:
    """RGB frames that are decoded when they are asked for; never more than one is held.

    Files are decoded in order; going back, or far ahead, seeks, which is slower.
    """

    def __init__(self, path: Path, files: tuple[Path, ...] = ()) -> None:
        """Prepare to read; use `open_frames`.

        Args:
            path: The video file, or the folder.
            files: The frames of a folder; () for a video file.

        Raises:
            PromptError: The file cannot be opened, or has no frame.
        """
        self.path, self.files = path, files
        self._capture: cv2.VideoCapture | None = None
        self._next = 0  # the frame that the capture gives next
        self.fps = FPS
        if files:
            self._length = len(files)
        else:
            self._capture = cv2.VideoCapture(str(path))
            said = self._capture.get(cv2.CAP_PROP_FPS)
            self.fps = said if 0 < said <= 1000 else FPS
            self._length = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        first = self._read(0)
        if first is None:
            raise PromptError(
                f"{path}: is no video that can be read; give an MP4, AVI or WebM file, or a "
                "folder of pictures"
            )
        self.size: tuple[int, int] = (first.shape[0], first.shape[1])
        """(height, width) of every frame."""
        self._length = max(1, self._length)

    def __len__(self) -> int:
        """How many frames there are; of a video file, how many it says that it has."""
        return self._length

    def __getitem__(self, index: int) -> Frame:
        """Read one frame.

        Raises:
            PromptError: There is no such frame, or it is damaged or of another size.
        """
        if not 0 <= index < len(self):
            raise PromptError(f"{self.path}: frames are numbered 0 to {len(self) - 1}; got {index}")
        frame = self._read(index)
        if frame is None:
            raise PromptError(f"{self.path}: frame {index} cannot be decoded; the file is cut off?")
        return frame

    def walk(self, start: int = 0, *, reverse: bool = False) -> Iterator[tuple[int, Frame]]:
        """Read frame after frame to the end, or back to the first.

        A video file may have fewer frames than it says; then the walk ends with the last.

        Raises:
            PromptError: There is no frame `start`, or a frame is damaged.
        """
        yield start, self[start]
        for index in range(start - 1, -1, -1) if reverse else range(start + 1, len(self)):
            frame = self._read(index)
            if frame is None:
                self._length = index
                return
            yield index, frame

    def close(self) -> None:
        """Let the file go."""
        if self._capture is not None:
            self._capture.release()

    def _read(self, index: int) -> Frame | None:
        if self._capture is None:
            frame = _open(self.files[index])
        else:
            if index != self._next:
                self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            good, frame = self._capture.read()
            self._next = index + 1
            if not good:
                self._next = -1
                return None
            frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        size = getattr(self, "size", frame.shape[:2])
        if frame.shape[:2] != size:
            where = self.files[index] if self.files else f"{self.path}: frame {index}"
            raise PromptError(
                f"{where}: all frames must have the first one's size of {size[1]} x {size[0]} "
                f"pixels; got {frame.shape[1]} x {frame.shape[0]}"
            )
        return frame


def open_frames(path: str | Path) -> Frames:
    """Open a video file, or a folder of pictures in the order of the numbers in their names.

    Raises:
        PromptError: It is missing, or has no frame.
    """
    path = Path(path)
    if path.is_dir():
        files = [file for file in path.iterdir() if file.suffix.lower() in ENDINGS]
        if not files:
            raise PromptError(f"{path}: has no pictures ({', '.join(ENDINGS)}) to be frames")
        return Frames(path, tuple(sorted(files, key=_order)))
    if not path.exists():
        raise PromptError(f"{path}: no such file; check the path")
    if path.suffix.lower() in ENDINGS:
        raise PromptError(
            f"{path}: is a picture and no video; give a video, or the folder it is in"
        )
    return Frames(path)


def _order(path: Path) -> list[tuple[int, str]]:
    """Sort frame2 before frame10."""
    parts = DIGITS.split(path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _open(path: Path) -> Frame:
    return np.array(open_picture(path))
