from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from grounding.errors import PromptError
from seem.frames import FPS, open_frames

COUNT, HEIGHT, WIDTH = 12, 48, 64


def shade(index: int) -> np.ndarray:
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[..., 0] = 20 * index
    frame[..., 2] = 255 - 20 * index
    return frame


@pytest.fixture
def film(tmp_path) -> Path:
    path = tmp_path / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 12.5, (WIDTH, HEIGHT))
    for index in range(COUNT):
        writer.write(cv2.cvtColor(shade(index), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


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
