"""Mechanics of following, on a tiny random model: what is remembered, promised and refused."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from grounding.errors import PromptError
from seem.encoded_image import Resizing
from seem.predictor import Predictor
from seem.refined_track import RefinedTrack
from seem.track import QueryTrack
from seem.video import VideoPredictor
from tests.seem.predicting import HEIGHT, KINDS, WIDTH, picture, predictor_of, tiny_predictor

FRAMES = [np.roll(picture(), 2 * index, axis=1) for index in range(5)]


def square(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def video(kind: str = "v1", frames=FRAMES, memory: int = 3) -> VideoPredictor:
    film = VideoPredictor(predictor_of(kind), memory=memory)
    film.init(frames)
    return film


def walked(film: VideoPredictor, start: int = 0, *, reverse: bool = False) -> dict:
    return dict(film.propagate(start, reverse=reverse))


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_has_a_mask_of_every_object_and_they_keep_apart(kind):
    film = video(kind)
    film.add(0, 3, mask=square(5, 5, 30, 30))
    film.add(2, 8, points=[[50, 40]], labels=[1])
    found = walked(film)
    assert list(found) == [0, 1, 2, 3, 4]
    for masks in found.values():
        assert list(masks) == [3, 8]
        assert all(m.shape == (HEIGHT, WIDTH) and m.dtype == torch.bool for m in masks.values())
        assert not (masks[3] & masks[8]).any()


@pytest.mark.parametrize("kind", ["v1", "refined"])
def test_a_mask_alone_is_taken_as_it_is(kind):
    film = video(kind)
    assert np.array_equal(film.add(1, 1, mask=square(5, 5, 30, 30)).numpy(), square(5, 5, 30, 30))
    assert np.array_equal(walked(film)[1][1].numpy(), square(5, 5, 30, 30))


@pytest.mark.parametrize("kind", ["v1", "refined"])
@pytest.mark.parametrize(
    "prompt",
    [
        {"points": [[20, 20]]},
        {"box": [10, 10, 40, 40]},
        {"strokes": [[[10, 10], [30, 30]]]},
        {"text": "dog"},
        {"text": "dog", "points": [[20, 20]]},
        {"mask": square(5, 5, 30, 30), "points": [[20, 20]]},
    ],
)
def test_prompts_answer_as_on_a_picture(kind, prompt):
    film, predictor = video(kind), predictor_of(kind)
    predictor.set_image(FRAMES[2])
    answer = predictor.predict(**prompt).masks[0]
    assert torch.equal(film.add(2, 1, **prompt), answer)
    if answer.any():
        assert torch.equal(walked(film, 2)[2][1], answer)


@pytest.mark.parametrize("kind", ["v1", "refined"])
def test_the_same_video_gives_the_same_bits_again_and_from_another_predictor(kind):
    films = [video(kind), video(kind)]
    for film in films:
        film.add(0, 1, mask=square(5, 5, 30, 30))
    first, second, third = walked(films[0]), walked(films[0]), walked(films[1])
    for other in (second, third):
        assert all(torch.equal(masks[1], other[frame][1]) for frame, masks in first.items())


def test_walks_go_both_ways_from_anywhere():
    film = video()
    film.add(2, 1, mask=square(5, 5, 30, 30))
    assert list(walked(film, 3)) == [3, 4]
    assert list(walked(film, 2, reverse=True)) == [2, 1, 0]


def test_an_object_alone_is_followed_the_same_beside_one_that_is_nowhere_near():
    alone, beside = video("v0"), video("v0")
    for film in (alone, beside):
        film.add(0, 1, mask=square(0, 0, 20, 20))
    beside.add(0, 2, mask=square(50, 30, 70, 50))
    before, after = walked(alone)[0][1], walked(beside)[0][1]
    assert torch.equal(before, after)


@pytest.mark.parametrize("kind", ["v1", "refined"])
def test_memory_does_not_grow_with_the_video(kind):
    film = video(kind, frames=FRAMES * 4, memory=2)
    film.add(0, 1, mask=square(5, 5, 30, 30))
    film.add(3, 1, mask=square(10, 5, 35, 30))
    sizes = set()
    for _ in islice(film.propagate(), 4, None):
        track = film._tracks[1]
        assert isinstance(track, (QueryTrack, RefinedTrack))
        sizes.add((len(track.prompted), len(track.recent)))
    assert sizes == {(2, 2)}


def test_one_frame_at_a_time_is_read():
    class Reader:
        def __init__(self):
            self.read = []

        def __len__(self):
            return 1000

        def __getitem__(self, index):
            self.read.append(index)
            return FRAMES[index % 5]

    reader = Reader()
    film = video(frames=reader)
    film.add(0, 1, mask=square(5, 5, 30, 30))
    assert reader.read == [0]
    list(islice(film.propagate(), 3))
    assert reader.read == [0, 0, 1, 2]


def test_objects_that_leave_have_empty_masks_and_may_return():
    """What is remembered is turned to its opposite, so that no mask can be like it."""
    film = video()
    film.add(0, 1, mask=square(5, 5, 30, 30))
    track = film._tracks[1]
    assert isinstance(track, QueryTrack)
    ((feature),) = [tokens.positive_mean for tokens in track.prompted.values()]
    tokens = track.prompted[0]
    track.prompted[0] = replace(tokens, positive_mean=-feature)
    away = walked(film, 1)
    assert not any(masks[1].any() for masks in away.values())
    track.prompted[0] = tokens
    assert any(masks[1].any() for masks in walked(film, 1).values())


def test_removed_objects_are_gone():
    film = video()
    film.add(0, 1, mask=square(5, 5, 30, 30))
    film.add(0, 2, mask=square(40, 5, 60, 30))
    film.remove(1)
    assert film.objects == (2,)
    assert list(walked(film)[0]) == [2]
    with pytest.raises(PromptError, match="no object 1; there are"):
        film.remove(1)
    film.init(FRAMES)
    assert film.objects == ()


def test_larger_frames_come_back_at_their_own_size():
    predictor = Predictor(tiny_predictor().model, resizing=Resizing(short_side=32, long_side=64))
    film = VideoPredictor(predictor)
    film.init(FRAMES)
    film.add(0, 1, points=[[20, 20]])
    assert walked(film)[4][1].shape == (HEIGHT, WIDTH)


def test_what_makes_no_sense():
    film = VideoPredictor(tiny_predictor())
    with pytest.raises(PromptError, match="call init first"):
        film.add(0, 1, points=[[1, 1]])
    with pytest.raises(PromptError, match="at least one frame"):
        film.init([])
    film.init(FRAMES)
    with pytest.raises(PromptError, match="nothing to follow"):
        list(film.propagate())
    with pytest.raises(PromptError, match="numbered 0 to 4; got 5"):
        film.add(5, 1, points=[[1, 1]])
    with pytest.raises(PromptError, match="only negative"):
        film.add(0, 1, points=[[1, 1]], labels=[0])
    assert film.objects == ()
    film.add(0, 1, mask=square(5, 5, 30, 30))
    with pytest.raises(PromptError, match="numbered 0 to 4; got 9"):
        list(film.propagate(9))
    with pytest.raises(PromptError, match="memory must be at least 1"):
        VideoPredictor(tiny_predictor(), memory=0)
