import dataclasses

import numpy as np
import pytest

from grounding.stickers import PRESETS
from grounding.stickers.scene import Sticker
from grounding.stickers.world import HELD_OUT_PAIRS
from seem.evaluation.sticker_source import sticker_film, sticker_source, twin_scene
from seem.evaluation.sticker_words import names, places, relations, searches

SMALL = PRESETS["small"]
CROWD = dataclasses.replace(
    SMALL, overlap=0.3, counts=(0, 1, 1, 1), mirrored_share=0.5, sides=(0.25, 0.5)
)


@pytest.fixture(scope="module")
def samples():
    return list(sticker_source(SMALL, 10).samples())


def test_half_of_the_scenes_are_of_each_kind_and_twins_come_on_top(samples):
    groups = [sample.truths[0].group for sample in samples]
    assert groups == ["held-out"] * 5 + ["held-out pairs"] * 5 + ["twins"] * 2
    assert len({sample.name for sample in samples}) == len(samples)
    assert sticker_source(SMALL, 10).count == len(samples)


def test_the_truths_cover_each_pixel_once(samples):
    for sample in samples:
        assert (np.sum([truth.mask for truth in sample.truths], axis=0) == 1).all()
        ids, segments = sample.map()
        assert (ids > 0).all()
        assert {segment.id for segment in segments} == set(np.unique(ids).tolist())


def test_classes_are_concepts_then_backgrounds(samples):
    source = sticker_source(SMALL, 10)
    assert source.things == set(SMALL.concepts)
    for sample in samples:
        *stickers, ground = sample.truths
        assert all(source.classes[truth.label] in source.things for truth in stickers)
        assert source.classes[ground.label] in SMALL.backgrounds
        assert not ground.thing


def test_a_source_yields_the_same_again(samples):
    for one, other in zip(samples, sticker_source(SMALL, 10).samples(), strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.phrases == other.phrases
        assert one.searches == other.searches
        for first, second in zip(one.references, other.references, strict=True):
            np.testing.assert_array_equal(first.image, second.image)


def test_phrases_of_new_pairs_are_told_apart(samples):
    for sample in samples:
        for phrase in sample.phrases:
            if "material" in phrase.kind:
                pair = tuple(phrase.text.split(" ", 1))
                assert (pair in HELD_OUT_PAIRS) == phrase.kind.startswith("new")


def test_a_reference_shows_the_object_elsewhere(samples):
    for sample in samples:
        for case in sample.references:
            assert case.mask.any()
            assert case.image.shape == sample.image.shape
            target = sample.truths[case.target].mask
            assert not np.array_equal(case.mask, target)
            assert 0.3 < case.mask.sum() / target.sum() < 3


def test_twins_differ_by_where_they_are_alone():
    for seed in range(10):
        first, second, third = twin_scene(SMALL, seed).stickers
        assert first.phrase == second.phrase != third.phrase
        said = relations((first, second, third))
        apart = [phrase for phrase in said if phrase.kind == "relation, twins"]
        assert {phrase.targets for phrase in apart} == {(0,), (1,)}


def sticker(concept, x, y, material=None):
    return Sticker(concept=concept, material=material, style="flat", box=(x, y, x + 0.2, y + 0.2))


def test_what_is_said_of_a_scene_by_hand():
    scene = [sticker("dog", 0, 0, "lava"), sticker("dog", 0.7, 0), sticker("car", 0.35, 0.05)]
    assert {(p.text, p.targets) for p in names(scene)} == {("lava dog", (0,)), ("car", (2,))}
    assert {(p.text, p.targets, p.kind) for p in relations(scene)} == {
        ("the dog left of the car", (0,), "relation, twins"),
        ("the dog right of the car", (1,), "relation, twins"),
        ("the car right of the dog", (2,), "relation"),
        ("the car left of the dog", (2,), "relation"),
    }
    assert {(p.text, p.targets) for p in places(scene)} == {
        ("the dog on the left", (0,)),
        ("the dog on the right", (1,)),
    }
    assert {(s.text, s.targets) for s in searches(scene, "owl")} == {
        ("lava dog", (0,)),
        ("dog", (0, 1)),
        ("car", (2,)),
        ("owl", ()),
    }


def test_a_phrase_means_one_sticker_also_where_concepts_repeat():
    for seed in range(20):
        scene = twin_scene(CROWD, seed)
        for phrase in (*names(scene.stickers), *relations(scene.stickers)):
            assert len(phrase.targets) == 1


def test_films_move_smoothly_and_keep_their_ids():
    for seed in range(3):
        film = sticker_film(SMALL, seed)
        assert len(film.frames) == len(film.ids) == 12
        assert film.objects == list(range(1, 1 + len(film.objects)))
        assert 2 <= len(film.objects) <= 3
        for number in film.objects:
            middles = [np.argwhere(ids == number).mean(0) for ids in film.ids]
            steps = np.hypot(*np.diff(middles, axis=0).T)
            assert steps.max() < 12
            assert np.hypot(*(middles[-1] - middles[0])) > 3
        again = sticker_film(SMALL, seed)
        np.testing.assert_array_equal(film.frames[-1], again.frames[-1])
