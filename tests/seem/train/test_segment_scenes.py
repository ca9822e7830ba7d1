"""Views of pictures: what can be asked about, and the same ones for the same numbers."""

import numpy as np
import pytest

from seem.train.segment_scenes import LEAST, MOST, Segment, take_view
from tests.seem.train.segments import COLOURS, SEGMENTS, Plates

SIZE = 64


def view_of(seed: int, number: int = 0, **options):
    chance = np.random.default_rng(seed)
    return take_view(*Plates().read(number), SIZE, chance, **options)


@pytest.mark.parametrize("number", range(4))
def test_a_view_shows_segments_that_are_neither_specks_nor_all_of_it(number: int) -> None:
    views = [view for seed in range(12) if (view := view_of(seed, number)) is not None]
    assert len(views) > 9
    for view in views:
        assert view.image.shape == (SIZE, SIZE, 3)
        assert view.image.dtype == np.uint8
        assert view.masks.shape == (len(view.numbers), SIZE, SIZE)
        assert view.masks.dtype == bool
        shares = view.masks.mean((1, 2))
        assert ((shares > LEAST) & (shares < MOST)).all()
        assert view.weights.sum() == pytest.approx(1)
        assert (view.weights > 0).all()
        assert 3 not in view.numbers  # the group that is on no picture
        if {0, 1} <= set(view.numbers):
            plate, food = (view.masks[view.numbers.index(n)] for n in (0, 1))
            assert not (food & ~plate).any()  # a part lies in its thing


def test_masks_lie_where_the_picture_shows_them(monkeypatch) -> None:
    monkeypatch.setattr("seem.train.segment_scenes.TINTED", 0)
    monkeypatch.setattr("seem.train.segment_scenes.GRAY", 0)
    for seed in range(8):
        view = view_of(seed)
        assert view is not None
        for place, number in enumerate(view.numbers):
            colours = view.image[view.masks[place]].astype(int)
            wanted = COLOURS[list(SEGMENTS[number].pieces)].astype(int)
            nearest = np.abs(colours[:, None] - wanted[None] - 15).max(2).min(1)
            assert np.mean(nearest < 40) > 0.85  # but for smooth edges


def test_the_same_numbers_give_the_same_view() -> None:
    one, again, other = view_of(3), view_of(3), view_of(4)
    assert one is not None
    assert again is not None
    assert other is not None
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.masks, again.masks)
    assert not np.array_equal(one.image, other.image)


def test_a_close_view_holds_its_segment() -> None:
    for seed in range(12):
        view = view_of(seed, holding=1)
        assert view is not None
        assert 1 in view.numbers
        share = view.masks[view.numbers.index(1)].mean()
        assert share > 0.15  # of the whole picture it is 0.08


def test_a_picture_of_which_nothing_is_known_has_no_view() -> None:
    image, pieces, _ = Plates().read(0)
    chance = np.random.default_rng(0)
    assert take_view(image, pieces, (), SIZE, chance) is None
    assert take_view(image, 0 * pieces, SEGMENTS, SIZE, chance) is None
    everything = (Segment(pieces=(1, 2, 3), kind="stuff"),)
    assert take_view(image, pieces, everything, SIZE, chance) is None


def test_small_pictures_have_views() -> None:
    for size in ((20, 30), (64, 33)):
        scenes = Plates(*size)
        views = [take_view(*scenes.read(0), SIZE, np.random.default_rng(seed)) for seed in range(8)]
        assert any(view is not None for view in views)
