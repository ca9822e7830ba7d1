"""Scenes are a function of their seed, and training never sees what is held out."""

import numpy as np
import pytest

from grounding.stickers import PRESETS, render
from grounding.stickers.vocabulary import BACKGROUNDS, CONCEPTS, MATERIALS, STYLES
from grounding.stickers.world import HELD_OUT_PAIRS, is_held_out_layout

SEEDS = range(150)


def pairs(scene):
    return {(s.material, s.concept) for s in scene.stickers if s.material}


def test_the_full_world_is_as_rich_as_promised():
    assert len(CONCEPTS) >= 100
    assert len(MATERIALS) >= 8
    assert len(BACKGROUNDS) >= 8
    assert len(STYLES) >= 2
    assert PRESETS["full"].concepts == tuple(CONCEPTS)
    assert len(PRESETS["small"].concepts) >= 48


@pytest.mark.parametrize("preset", PRESETS)
def test_same_seed_same_bits(preset):
    world = PRESETS[preset]
    first, second = world.scene(11), world.scene(11)
    assert first == second
    assert np.array_equal(render(first).image, render(second).image)
    assert not np.array_equal(render(first).image, render(world.scene(12)).image)


@pytest.mark.parametrize("preset", PRESETS)
def test_training_never_sees_a_held_out_pair_or_layout(preset):
    scenes = [PRESETS[preset].scene(seed) for seed in SEEDS]
    assert not any(pairs(scene) & HELD_OUT_PAIRS for scene in scenes)
    assert not any(is_held_out_layout([s.box for s in scene.stickers]) for scene in scenes)


def test_the_lava_llama_is_held_out():
    assert ("lava", "llama") in HELD_OUT_PAIRS


def test_held_out_pairs_are_all_new():
    for seed in SEEDS:
        scene = PRESETS["small"].scene(seed, "held-out pairs")
        assert pairs(scene) <= HELD_OUT_PAIRS
        assert len(pairs(scene)) == len(scene.stickers)


def test_held_out_layouts_are_all_new():
    scenes = [PRESETS["small"].scene(seed, "held-out") for seed in SEEDS]
    crowded = [s for s in scenes if len(s.stickers) > 1]
    assert len(crowded) > 50
    assert all(is_held_out_layout([s.box for s in scene.stickers]) for scene in crowded)


@pytest.mark.parametrize("preset", PRESETS)
def test_counts_sizes_and_overlaps_are_within_the_preset(preset):
    world = PRESETS[preset]
    for seed in SEEDS:
        scene = world.scene(seed)
        assert 1 <= len(scene.stickers) <= len(world.counts)
        alike = len(scene.stickers) - len({s.concept for s in scene.stickers})
        assert alike <= (1 if world.repeat_share else 0)
        for sticker in scene.stickers:
            x0, y0, x1, y1 = sticker.box
            assert 0 <= x0 < x1 <= 1
            assert 0 <= y0 < y1 <= 1
            assert max(x1 - x0, y1 - y0) >= world.sides[0] - 1 / world.size[0]


@pytest.mark.parametrize("preset", PRESETS)
def test_boxes_are_tight_around_what_is_drawn(preset):
    world = PRESETS[preset]
    for seed in range(40):
        scene = world.scene(seed, count=1)
        result = render(scene)
        [mask], [box] = result.masks, result.boxes
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        width, height = world.size
        drawn = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        wanted = box * np.array([width, height, width, height])
        assert np.abs(drawn - wanted).max() <= 2


def test_masks_of_a_scene_do_not_overlap():
    for seed in range(40):
        masks = render(PRESETS["full"].scene(seed)).masks
        assert masks.sum(0).max() <= 1


def test_in_a_crowd_a_concept_sometimes_occurs_twice():
    scenes = [PRESETS["crowd"].scene(seed, count=3) for seed in range(100)]
    twice = [len({s.concept for s in scene.stickers}) < 3 for scene in scenes]
    assert 0.2 < sum(twice) / len(twice) < 0.5
