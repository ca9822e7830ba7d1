import numpy as np
import pytest

from grounding.errors import PromptError
from seem.evaluation.coco_source import panoptic_source
from seem.evaluation.davis_source import davis_source
from seem.evaluation.sample import VOID_ID, Sample, Truth
from seem.evaluation.warped_source import warped_film, warped_source
from tests.seem.evaluation.folders import davis_folder, panoptic_folder

COLOURS = np.array([[0, 0, 0], [250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)


def sample(name: str = "a", height: int = 120, width: int = 160) -> Sample:
    """Three objects, each of one colour, on black."""
    ids = np.zeros((height, width), np.uint8)
    ids[30:70, 40:90], ids[60:110, 100:150], ids[75:100, 20:80] = 1, 2, 3
    truths = tuple(
        Truth(mask=ids == number, label=0, thing=number != 3, group="things")
        for number in (1, 2, 3)
    )
    return Sample(name=name, image=COLOURS[ids], truths=truths)


def test_masks_are_warped_as_the_picture_is():
    clip = warped_film(sample())
    assert len(clip.frames) == len(clip.ids) == 12
    for frame, ids in zip(clip.frames, clip.ids, strict=True):
        assert ids is not None
        assert frame.shape[:2] == ids.shape
        wrong = np.abs(frame.astype(int) - COLOURS[ids]).max(-1) > 130  # but where colours blend
        assert wrong.mean() < 0.02


def test_the_camera_moves_and_every_film_is_its_own():
    clip, again, other = warped_film(sample()), warped_film(sample()), warped_film(sample("b"))
    assert all(np.array_equal(a, b) for a, b in zip(clip.frames, again.frames, strict=True))
    assert not np.array_equal(clip.frames[0], other.frames[0])
    changes = [(a != b).mean() for a, b in zip(clip.frames[:-1], clip.frames[1:], strict=True)]
    assert all(change > 0 for change in changes[2:-2])
    first, last = clip.ids[0], clip.ids[-1]
    assert first is not None
    assert last is not None
    assert (first != last).mean() > 0.05


def test_large_pictures_become_small_frames():
    assert warped_film(sample(height=120, width=1600)).frames[0].shape == (36, 480, 3)


def test_what_belongs_to_nothing_is_void(tmp_path):
    source = warped_source(panoptic_source(panoptic_folder(tmp_path) / "panoptic.json"))
    clips = list(source.clips())
    assert (source.tasks, source.clip_count, len(clips)) == (("video",), 2, 2)
    crowd, objects = clips  # by number: a tree under a crowd, then two dogs and a tree
    assert crowd.objects == [1]
    assert any((ids == VOID_ID).any() for ids in crowd.ids if ids is not None)
    assert objects.objects in ([1, 2], [1, 2, 3])
    assert source.left_out == {"segments smaller than 0.5% of their image": 1, "crowds": 1}


def test_films_need_images(tmp_path):
    with pytest.raises(PromptError, match="films are made of images"):
        warped_source(davis_source(davis_folder(tmp_path)))
