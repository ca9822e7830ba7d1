import dataclasses
import functools
import itertools

import numpy as np
import pytest

from grounding.composites.scene import Composite, render_composite
from tests.grounding.composites.small_art import make_art

COUNT, SIZE = 16, 96


@functools.cache
def composites() -> list[Composite]:
    art = make_art()
    return [render_composite(art, np.random.default_rng([7, i]), SIZE) for i in range(COUNT)]


def test_the_same_seed_gives_the_same_bits():
    again = render_composite(make_art(), np.random.default_rng([7, 3]), SIZE)
    assert (again.image == composites()[3].image).all()
    assert (again.ids == composites()[3].ids).all()
    assert again.segments == composites()[3].segments
    assert (composites()[4].image != composites()[3].image).any()


def test_every_leaf_shows_and_belongs_to_a_segment():
    for composite in composites():
        assert composite.image.shape == (SIZE, SIZE, 3)
        assert composite.image.dtype == composite.ids.dtype == np.uint8
        shown = set(np.unique(composite.ids).tolist()) - {0}
        assert shown == set(range(1, len(shown) + 1))
        assert shown == {leaf for segment in composite.segments for leaf in segment.leaves}


def test_no_two_segments_are_the_same_pixels():
    for composite in composites():
        sets = [segment.leaves for segment in composite.segments]
        assert len(set(sets)) == len(sets)
        assert all(list(leaves) == sorted(set(leaves)) for leaves in sets)


def test_parts_lie_within_things_and_things_within_groups():
    inside = {"part": "thing", "thing": "group"}
    for composite in composites():
        leaves = {
            kind: [set(s.leaves) for s in composite.segments if s.kind == kind]
            for kind in ("part", "thing", "group", "stuff")
        }
        for part in leaves["part"]:
            assert any(part < thing for thing in leaves["thing"])
        for group in leaves["group"]:
            assert sum(thing < group for thing in leaves["thing"]) >= 2
        for stuff, kind in itertools.product(leaves["stuff"], inside):
            assert all(not stuff & other for other in leaves[kind])


def test_a_click_may_mean_several_segments():
    several = 0
    for composite in composites():
        for leaf in range(1, int(composite.ids.max()) + 1):
            several += sum(leaf in segment.leaves for segment in composite.segments) > 1
    assert several >= COUNT


def test_things_name_their_source_again_and_again():
    sources = [s.source for c in composites() for s in c.segments if s.kind == "thing"]
    assert all(sources)
    assert len(set(sources)) < len(sources)


@pytest.mark.parametrize("missing", ["cutouts", "models", "photographs", "textures"])
def test_a_kind_of_art_may_be_missing(missing):
    art = dataclasses.replace(make_art(), **{missing: []})
    for i in range(2):
        assert render_composite(art, np.random.default_rng(i), 64).ids.any()
