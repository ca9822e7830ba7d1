"""Frames of a video, one at a time: from a video file, or from a folder of pictures.

Axes: H W a frame in pixels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from grounding.errors import PromptError
from grounding.picture_file import PICTURE_SUFFIXES, open_picture
from grounding.picture_folder import list_picture_files

__all__ = ["Frames", "open_frames"]

FPS = 25.0  # of a folder of pictures, and of files that do not say
DIGITS = re.compile(r"(\d+)")
FILMS_TOO = (".gif",)  # pictures that move more often than not
HELD_BYTES = 2**28  # frames that are held while a film that cannot be sought is walked back
LOG_LEVEL, SILENT = "OPENCV_FFMPEG_LOGLEVEL", "-8"  # ffmpeg's AV_LOG_QUIET; read by OpenCV, once

Frame = UInt8[np.ndarray, "H W 3"]


class Frames:
    """RGB frames that are decoded when they are asked for; never more than one is held.

    Files are decoded in order; going back, or far ahead, seeks, which is slower. A file that cannot
    be sought in (a stream that was recorded: WebM of browsers, .ts, .h264) is read anew from its
    first frame instead, and its frames are counted by decoding them.
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
        self._seeks = self._counted = True
        self.fps = FPS
        if files:
            self._length = len(files)
        else:
            os.environ.setdefault(LOG_LEVEL, SILENT)
            self._capture = cv2.VideoCapture(str(path))
            said = self._capture.get(cv2.CAP_PROP_FPS)
            self.fps = said if 0 < said <= 1000 else FPS
        first = self._read(0)
        if first is None:
            raise PromptError(
                f"{path}: is no video that can be read; give an MP4, AVI or WebM file, or a "
                "folder of pictures"
            )
        self.size: tuple[int, int] = (first.shape[0], first.shape[1])
        """(height, width) of every frame."""
        if self._capture is not None:
            claimed = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
            self._seeks = claimed >= 1 and self._can_seek(first)
            self._counted = not self._seeks
            self._length = int(claimed) if self._seeks else self._count()

    def __len__(self) -> int:
        """How many frames there are; of a file that can be sought in, how many it says it has."""
        return self._length

    def __getitem__(self, index: int) -> Frame:
        """Read one frame.

        Raises:
            PromptError: There is no such frame, or it is damaged or of another size.
        """
        if index >= len(self) and self._capture is not None and not self._counted:
            self._learn(self._count())  # it may have more than it says
        if not 0 <= index < len(self):
            raise PromptError(f"{self.path}: frames are numbered 0 to {len(self) - 1}; got {index}")
        frame = self._read(index)
        if frame is None:
            raise PromptError(f"{self.path}: frame {index} cannot be decoded; the file is cut off?")
        return frame

    def walk(self, start: int = 0, *, reverse: bool = False) -> Iterator[tuple[int, Frame]]:
        """Read frame after frame to the end, or back to the first.

        A video file may have other frames than it says; then the walk ends with the last.

        Raises:
            PromptError: There is no frame `start`, or a frame is damaged.
        """
        yield start, self[start]
        if reverse:
            yield from self._walk_back(start - 1)
            return
        index = start + 1
        while index < len(self) or self._capture is not None:
            frame = self._read(index)
            if frame is None:
                self._learn(index)
                return
            yield index, frame
            index += 1

    def close(self) -> None:
        """Let the file go."""
        if self._capture is not None:
            self._capture.release()

    def _walk_back(self, start: int) -> Iterator[tuple[int, Frame]]:
        block = 1
        if self._capture is not None and not self._seeks:  # each step back reads all before it
            block = max(1, HELD_BYTES // (3 * self.size[0] * self.size[1]))
        for end in range(start, -1, -block):
            indices = range(max(0, end - block + 1), end + 1)
            frames = [(index, self[index]) for index in indices]
            while frames:
                yield frames.pop()

    def _read(self, index: int) -> Frame | None:
        if self._capture is None:
            frame = np.array(open_picture(self.files[index]))
        else:
            if not self._reach(index):
                return None
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

    def _reach(self, index: int) -> bool:
        """Bring the capture to where it gives a frame next; whether it got there."""
        assert self._capture is not None, "folders need no capture"
        if index == self._next:
            return True
        if self._seeks:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            return True
        if not 0 <= self._next <= index:
            self._capture.open(str(self.path))
            self._next = 0
        for _ in range(self._next, index):
            if not self._capture.grab():
                self._next = -1
                return False
        return True

    def _can_seek(self, first: Frame) -> bool:
        """Whether the first frame is found again."""
        assert self._capture is not None, "folders need no capture"
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        self._next = -1
        good, again = self._capture.read()
        if not good:
            return False
        self._next = 1
        return np.array_equal(cv2.cvtColor(again, cv2.COLOR_BGR2RGB), first)

    def _learn(self, count: int) -> None:
        """Take note of how many frames there are."""
        self._seeks = self._seeks and count <= self._length  # OpenCV seeks to none beyond
        self._length, self._counted = count, True

    def _count(self) -> int:
        """The number of frames, by decoding them."""
        assert self._capture is not None, "folders need no capture"
        self._capture.open(str(self.path))
        count, self._next = 0, -1
        while self._capture.grab():
            count += 1
        return count


def open_frames(path: str | Path) -> Frames:
    """Open a video file, or a folder of pictures in the order of the numbers in their names.

    Raises:
        PromptError: It is missing, or has no frame.
    """
    path = Path(path)
    if path.is_dir():
        files = list_picture_files(path, deep=False).files
        if not files:
            raise PromptError(f"{path}: has no pictures ({', '.join(PICTURE_SUFFIXES)}) as frames")
        return Frames(path, tuple(sorted(files, key=_order)))
    if not path.exists():
        raise PromptError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise PromptError(f"{path}: is no file; save the video first, it is read more than once")
    if path.suffix.lower() in PICTURE_SUFFIXES and path.suffix.lower() not in FILMS_TOO:
        raise PromptError(
            f"{path}: is a picture and no video; give a video, or the folder it is in"
        )
    return Frames(path)


def _order(path: Path) -> list[tuple[int, str]]:
    """Sort frame2 before frame10."""
    parts = DIGITS.split(path.name)  # text and numbers in turn
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]
