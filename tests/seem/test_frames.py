import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from grounding.errors import PromptError
from seem import frames as frames_module
from seem.frames import FPS, open_frames

COUNT, HEIGHT, WIDTH = 12, 48, 64


def shade(index: int) -> np.ndarray:
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[..., 0] = 20 * index
    frame[..., 2] = 255 - 20 * index
    return frame


def filmed(path: Path, codec: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 12.5, (WIDTH, HEIGHT))
    for index in range(COUNT):
        writer.write(cv2.cvtColor(shade(index), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.fixture
def film(tmp_path) -> Path:
    return filmed(tmp_path / "film.mp4")


@pytest.fixture
def folder(tmp_path) -> Path:
    for index in range(COUNT):
        Image.fromarray(shade(index)).save(tmp_path / f"frame{index}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    return tmp_path


def test_folders_count_as_people_do(folder):
    frames = open_frames(folder)
    assert len(frames) == COUNT
    assert (frames.size, frames.fps) == ((HEIGHT, WIDTH), FPS)
    for index, frame in frames.walk():
        assert np.array_equal(frame, shade(index))
    assert [index for index, _ in frames.walk(3, reverse=True)] == [3, 2, 1, 0]


def test_video_files_are_read_forward_backward_and_anywhere(film):
    frames = open_frames(film)
    assert len(frames) == COUNT
    assert (frames.size, frames.fps) == ((HEIGHT, WIDTH), 12.5)
    walked = dict(frames.walk())
    assert list(walked) == list(range(COUNT))
    for index, frame in walked.items():
        assert np.abs(frame.astype(int) - shade(index)).mean() < 4
    back = dict(frames.walk(COUNT - 1, reverse=True))
    assert list(back) == list(range(COUNT))[::-1]
    for index in (7, 0, 11, 3):
        assert np.array_equal(back[index], walked[index])
        assert np.array_equal(frames[index], walked[index])
    frames.close()


def test_a_file_that_is_cut_off_ends_early_or_says_so(film):
    data = film.read_bytes()
    film.write_bytes(data[: len(data) // 3])
    with pytest.raises(PromptError, match="no video that can be read"):
        open_frames(film)


def test_frames_are_decoded_when_they_are_asked_for(folder):
    frames = open_frames(folder)
    (folder / "frame5.png").write_bytes(b"broken")
    assert np.array_equal(frames[4], shade(4))
    with pytest.raises(PromptError, match=r"frame5\.png: is not a whole picture"):
        frames[5]
    Image.fromarray(shade(6)[:30]).save(folder / "frame6.png")
    with pytest.raises(PromptError, match="size of 64 x 48 pixels; got 64 x 30"):
        frames[6]


@pytest.mark.parametrize("index", [-1, COUNT])
def test_frames_that_are_not_there(folder, index):
    with pytest.raises(PromptError, match=f"numbered 0 to {COUNT - 1}; got {index}"):
        open_frames(folder)[index]


def test_what_has_no_frames(tmp_path):
    with pytest.raises(PromptError, match="no such file"):
        open_frames(tmp_path / "film.mp4")
    with pytest.raises(PromptError, match="has no pictures"):
        open_frames(tmp_path)
    Image.fromarray(shade(0)).save(tmp_path / "one.png")
    with pytest.raises(PromptError, match="is a picture and no video"):
        open_frames(tmp_path / "one.png")


def streamed(path: Path) -> Path:
    """A WebM as browsers record it: no duration, no index."""
    data = bytearray(filmed(path, "VP80").read_bytes())
    duration, index = data.index(b"\x44\x89\x88"), data.rindex(b"\x1c\x53\xbb\x6b")
    data[duration : duration + 3] = b"\xec\x89\x00"  # EBML's Void
    path.write_bytes(data[:index])
    return path


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.webm", None),
        ("a.ts", "MPG2"),  # cannot be sought in
        ("a.ts", "mp4v"),  # says that it has twice as many frames
        ("a.mpg", "MPG2"),  # says that it has one
        ("a.mjpeg", "MJPG"),  # says that it has fewer than none
        ("a.mkv", "MJPG"),
    ],
)
@pytest.mark.parametrize("held", [2**28, 1])
def test_films_that_cannot_be_sought_are_read_in_order(tmp_path, monkeypatch, name, codec, held):
    monkeypatch.setattr(frames_module, "HELD_BYTES", held)
    path = tmp_path / name
    frames = open_frames(streamed(path) if codec is None else filmed(path, codec))
    back = dict(frames.walk(COUNT - 1, reverse=True))
    walked = dict(frames.walk())
    assert list(walked) == list(back)[::-1] == list(range(COUNT))
    assert len(frames) == COUNT
    for index, frame in walked.items():
        assert np.abs(frame.astype(int) - shade(index)).mean() < 6
        assert np.array_equal(back[index], frame)
    for index in (7, 0, 11, 3):
        assert np.array_equal(frames[index], walked[index])


@pytest.mark.parametrize("claim", [3, 2**31 - 1])
def test_a_wrong_count_neither_hides_frames_nor_hangs(tmp_path, claim):
    path = filmed(tmp_path / "a.avi", "MJPG")
    data, told = path.read_bytes(), COUNT.to_bytes(4, "little")
    head, place = bytearray(data), data.index(b"strh") + 40  # dwLength
    assert data[place : place + 4] == told
    head[place : place + 4] = claim.to_bytes(4, "little")
    path.write_bytes(head)
    frames = open_frames(path)
    assert np.abs(frames[COUNT - 1].astype(int) - shade(COUNT - 1)).mean() < 6
    with pytest.raises(PromptError, match=r"cannot be decoded|numbered 0 to 11; got 1000"):
        frames[1000]
    assert [index for index, _ in frames.walk()] == list(range(COUNT))
    assert len(frames) == COUNT


def test_libraries_say_nothing_of_a_film_that_is_cut_off(film):
    film.write_bytes(film.read_bytes()[:200])
    code = f"from seem.frames import open_frames; open_frames({str(film)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].startswith("grounding.errors.PromptError")
    assert "mov,mp4" not in done.stderr


def test_names_with_odd_digits_are_frames_and_what_macos_leaves_is_none(folder):
    for index in range(COUNT):
        (folder / f"frame{index}.png").rename(folder / f"1²{index}.png")
    (folder / "._1²0.png").write_bytes(b"AppleDouble")
    frames = open_frames(folder)
    assert len(frames) == COUNT
    assert np.array_equal(frames[10], shade(10))


def test_what_can_be_read_only_once_is_refused(tmp_path):
    os.mkfifo(tmp_path / "film.mp4")
    with pytest.raises(PromptError, match="save the video first"):
        open_frames(tmp_path / "film.mp4")
