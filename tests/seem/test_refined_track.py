"""Tracks of models with a refiner: carried along with the pixels, lost, and found again."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from seem import refined_track
from seem.encoded_image import EncodedImage
from seem.refined_track import RefinedTrack
from seem.track import joined
from seem.video import VideoPredictor
from tests.seem.predicting import refined_predictor

HEIGHT, WIDTH, STEP = 96, 128, 4


def scene(shift: int) -> np.ndarray:
    """A flecked wall that moves to the right: flow needs something to hold on to."""
    noise = np.random.default_rng(3).normal(128, 60, (HEIGHT, 2 * WIDTH, 3))
    wall = cv2.GaussianBlur(noise, (0, 0), 2.0)
    wall = ((wall - 128) * 4 + 128).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(wall[:, WIDTH - shift : 2 * WIDTH - shift])


def square(x0: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[30:62, x0 : x0 + 32] = True
    return mask


def film(frames: int = 4) -> VideoPredictor:
    video = VideoPredictor(refined_predictor())
    video.init([scene(STEP * index) for index in range(frames)])
    video.add(0, 1, mask=square(20))
    return video


def iou(found: torch.Tensor, truth: np.ndarray) -> float:
    mask = found.numpy()
    return (mask & truth).sum() / (mask | truth).sum()


def test_a_mask_goes_along_with_the_pixels_under_it(monkeypatch):
    """Without a word of the refiner, whose parameters are random."""
    monkeypatch.setattr(refined_track, "CARRIED", 1.0)
    monkeypatch.setattr(refined_track, "EXPLAINED", 1e6)
    monkeypatch.setattr(refined_track, "LIKE", -1.0)
    for index, masks in film().propagate():
        assert iou(masks[1], square(20 + STEP * index)) > 0.85, index


def test_the_refiner_has_its_say_and_decides_where_flow_does_not_explain_the_picture(monkeypatch):
    monkeypatch.setattr(refined_track, "LIKE", -1.0)
    carried = dict(film(2).propagate())[1][1]
    monkeypatch.setattr(refined_track, "EXPLAINED", 1e-6)
    alone = dict(film(2).propagate())[1][1]
    assert not torch.equal(carried, alone)


def turned(track: RefinedTrack) -> None:
    """Let what is remembered be the opposite of what was seen."""
    for frame, example in track.prompted.items():
        looks = example.whole.looks
        assert looks is not None
        opposite = replace(example.whole, looks=tuple(-level for level in looks))
        track.prompted[frame] = replace(example, whole=opposite)


def test_what_looks_like_nothing_on_the_frame_is_away_and_may_return(monkeypatch):
    monkeypatch.setattr(refined_track, "CARRIED", 1.0)  # the refiner's parameters are random
    monkeypatch.setattr(refined_track, "LIKE", 0.0)
    monkeypatch.setattr(refined_track, "ALIKE", 0.0)
    video = film()
    track = video._tracks[1]
    assert isinstance(track, RefinedTrack)
    kept = dict(track.prompted)
    turned(track)
    away = dict(video.propagate())
    assert [bool(masks[1].any()) for masks in away.values()] == [True, False, False, False]
    track.prompted = kept
    assert all(masks[1].any() for masks in dict(video.propagate()).values())


def test_a_lost_object_is_looked_for_on_the_whole_frame_by_what_was_shown(monkeypatch):
    monkeypatch.setattr(refined_track, "ALIKE", -1.0)
    predictor = refined_predictor()
    track = predictor.track(3)
    image = predictor.encode(scene(0))
    mask = torch.from_numpy(square(20))
    track.prompt(image, 0, mask)
    other = predictor.encode(scene(8))
    found = track.find(other)
    shown = predictor.exemplar(image, mask=square(20))
    predictor.set_image(other)
    expected = predictor.predict(reference=shown).logits[0]
    assert torch.equal(found, expected.clamp(-6, 6))


def test_an_empty_mask_forgets_the_frame():
    predictor = refined_predictor()
    track, image = predictor.track(3), predictor.encode(scene(0))
    track.prompt(image, 0, torch.from_numpy(square(20)))
    track.prompt(image, 0, torch.zeros(HEIGHT, WIDTH, dtype=torch.bool))
    assert not track.prompted


def test_examples_are_joined_with_their_looks():
    predictor = refined_predictor()
    image = predictor.encode(scene(0))
    tokens = [predictor.exemplar(image, mask=square(x)).tokens for x in (10, 60)]
    both = joined(tokens)
    assert both.tokens.shape[1] == sum(one.tokens.shape[1] for one in tokens)
    assert both.looks is not None
    first, second = (one.looks for one in tokens)
    assert first is not None
    assert second is not None
    for mean, a, b in zip(both.looks, first, second, strict=True):
        assert torch.allclose(mean, (a + b) / 2)


@pytest.mark.parametrize("size", [(40, 200), (200, 40), (9, 9)])
def test_frames_of_any_shape(size):
    frames = [np.full((*size, 3), 90 + 10 * index, np.uint8) for index in range(3)]
    video = VideoPredictor(refined_predictor())
    video.init(frames)
    mask = np.zeros(size, bool)
    mask[: size[0] // 2] = True
    video.add(0, 1, mask=mask)
    for _, masks in video.propagate():
        assert masks[1].shape == size


def test_the_picture_is_what_flow_is_computed_on():
    image = refined_predictor().encode(scene(0))
    assert isinstance(image, EncodedImage)
    assert refined_track._gray(image).shape == (240, 320)
