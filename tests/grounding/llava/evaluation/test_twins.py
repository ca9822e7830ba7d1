import numpy as np
import pytest

from grounding.llava.evaluation.twins import find_twins
from grounding.planning.relations import cover
from grounding.stickers.captions import direction
from grounding.stickers.vocabulary import article
from grounding.stickers.world import PRESETS

WORLD = PRESETS["small"]


@pytest.fixture(scope="module")
def found():
    scenes = [WORLD.scene(seed, "held-out") for seed in range(60)]
    return [
        twins for n, s in enumerate(scenes) for twins in find_twins(s, np.random.default_rng(n))
    ]


def said_of(scene, caption):
    """Whether a caption is true of a scene, told from its stickers alone."""
    stickers = {article(sticker.phrase): sticker for sticker in scene.stickers}
    for where in ("left of", "right of", "above", "below"):
        if f" {where} " in caption:
            one, two = caption.split(f" {where} ")
            boxes = [stickers[name].box for name in (one, two)]
            return direction(*boxes) == where
    return all(name in stickers for name in caption.split(" and "))


def test_each_caption_fits_its_own_picture_alone(found):
    assert {twins.kind for twins in found} == {"places", "materials"}
    for twins in found:
        for one in (0, 1):
            assert said_of(twins.scenes[one], twins.captions[one])
            assert not said_of(twins.scenes[one], twins.captions[1 - one])


def test_captions_have_the_same_words(found):
    for twins in found:
        words = [sorted(w for w in c.split() if w not in ("a", "an")) for c in twins.captions]
        assert words[0] == words[1]


def test_things_stay_on_the_canvas_and_apart(found):
    for twins in found:
        boxes = [sticker.box for sticker in twins.scenes[1].stickers]
        assert all(0 <= edge <= 1 for box in boxes for edge in box)
        assert all(cover(a, b) <= 0.05 for n, a in enumerate(boxes) for b in boxes[:n])


def test_the_generator_decides():
    scene = WORLD.scene(3, "held-out", count=4)
    again = [find_twins(scene, np.random.default_rng(seed)) for seed in (1, 1)]
    assert again[0] == again[1]
    assert find_twins(WORLD.scene(0, "held-out", count=1), np.random.default_rng(0)) == []
