from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from grounding.errors import GeometryError
from seem.clicks import (
    Clicks,
    box_click,
    click_square,
    deepest_pixel,
    depth,
    first_click,
    iou,
    next_click,
    noc,
    simulate,
)
from tests.parity.seem_results import click_arrays

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted(path.name for path in GOLDEN.glob("seem_*.npz"))
BITMAPS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=14))


def filled(shape, top, left, bottom, right):
    bitmap = np.zeros(shape, bool)
    bitmap[top:bottom, left:right] = True
    return bitmap


def grown_ring_by_ring(bitmap):
    """The soft distance as it is defined: a front that takes one more ring at a time."""
    reached = np.pad(~bitmap, 1, constant_values=True)
    distance = np.zeros(reached.shape)
    weight = {0: 1.0, 1: np.exp(-1 / 0.35), 2: np.exp(-(2**0.5) / 0.35)}
    ring = 0
    while not reached.all():
        framed = np.pad(reached, 1, mode="edge").astype(float)
        total = sum(
            weight[abs(dy) + abs(dx)] * np.roll(framed, (dy, dx), (0, 1))[1:-1, 1:-1]
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        )
        step = np.where(total > 0, -0.35 * np.log(np.where(total > 0, total, 1)), 0)
        distance += np.where(step > 0, ring + step, 0)
        reached, ring = reached | (step > 0), ring + 1
    return distance[1:-1, 1:-1]


@pytest.mark.parametrize("file", FILES)
def test_clicks_are_the_official_ones(file):
    golden = np.load(GOLDEN / file)
    ours = click_arrays("golden:", golden["click.box.xyxy"])
    names = [name for name in golden if name.startswith("click.") and name != "click.box.xyxy"]
    assert "click.box.pixels_yx" in names
    for name in names:
        np.testing.assert_array_equal(ours[name].reshape(-1, 2), golden[name], err_msg=name)


def test_golden_files_are_here():
    assert len(FILES) == 7


@given(BITMAPS)
def test_depth_is_what_a_growing_front_gives(bitmap):
    ours = depth(bitmap)
    np.testing.assert_allclose(ours, grown_ring_by_ring(bitmap), atol=1e-9)
    assert ((ours > 0) == bitmap).all()


@given(BITMAPS)
def test_the_deepest_pixel_is_the_first_of_the_deepest(bitmap):
    place = deepest_pixel(bitmap)
    if place is None:
        assert not bitmap.any()
        return
    depths = depth(bitmap)
    assert depths[place] == depths.max()
    assert place == np.unravel_index(depths.argmax(), depths.shape)


def test_depth_of_a_mirror_image_is_mirrored_exactly():
    bitmap = np.random.default_rng(0).random((40, 50)) < 0.95
    np.testing.assert_array_equal(depth(bitmap[::-1, ::-1]), depth(bitmap)[::-1, ::-1])


def test_squares_end_at_the_canvas():
    assert click_square((0, 4), (5, 5)).nonzero()[0].tolist() == [0, 0, 1, 1]
    with pytest.raises(GeometryError, match="row 5, column 0"):
        click_square((5, 0), (5, 5))


@pytest.mark.parametrize("box", [(3, 3, 3, 9), (20, 0, 30, 5), (-9, -9, -2, -2), (5, 5, 2, 2)])
def test_a_box_without_pixels_is_refused(box):
    with pytest.raises(GeometryError, match="must hold a pixel"):
        box_click(box, (10, 10))


def test_a_box_may_stick_out_of_the_canvas():
    assert box_click((-5, -5, 5, 5), (10, 10))[2, 2]


def test_the_larger_mistake_is_clicked():
    truth = filled((40, 40), 5, 5, 25, 25)
    none = Clicks(positive=np.zeros_like(truth), negative=np.zeros_like(truth))
    more = next_click(truth, filled((40, 40), 5, 5, 25, 12), none)
    assert more.positive.any()
    assert not more.negative.any()
    assert truth[more.positive].all()
    less = next_click(truth, filled((40, 40), 5, 5, 40, 40), none)
    assert less.negative.any()
    assert not less.positive.any()
    assert not truth[less.negative].any()


def test_clicks_know_their_places_in_order():
    truth = filled((40, 40), 5, 5, 25, 25)
    first = first_click(truth)
    second = next_click(truth, filled((40, 40), 5, 5, 40, 40), first)
    (y, x, label), (below, right, beside) = second.places
    assert (label, beside) == (1, 0)
    assert first.places == ((y, x, 1),)
    assert (click_square((y, x), truth.shape) == second.positive).all()
    assert (click_square((below, right), truth.shape) == second.negative).all()


def test_mistakes_of_one_size_get_a_negative_click():
    truth = filled((20, 20), 2, 2, 8, 8)
    none = Clicks(positive=np.zeros_like(truth), negative=np.zeros_like(truth))
    clicks = next_click(truth, filled((20, 20), 12, 12, 18, 18), none)
    assert clicks.negative.sum() == 9
    assert not clicks.positive.any()


def test_what_is_good_enough_or_clicked_already_gets_no_click():
    truth = filled((60, 60), 0, 0, 50, 50)
    clicks = first_click(truth)
    assert next_click(truth, filled((60, 60), 0, 0, 50, 49), clicks) is clicks
    dot = filled((9, 9), 3, 3, 6, 6)
    clicks = first_click(dot)
    assert next_click(dot, np.zeros_like(dot), clicks) is clicks


def test_iou_counts_pixels():
    left, right = filled((4, 4), 0, 0, 4, 3), filled((4, 4), 0, 1, 4, 4)
    assert iou(left, right) == pytest.approx(0.5)
    assert iou(left & False, left & False) == 0


def test_clicking_until_found_counts_the_clicks():
    truth = filled((60, 60), 10, 10, 50, 50)
    seen = []

    def predict(clicks):
        seen.append(clicks)
        return filled((60, 60), 10, 10, 50, 10 + 15 * len(seen)) & truth

    reached = simulate(predict, truth)
    assert reached == pytest.approx([15 / 40, 30 / 40, 1.0])
    assert [int(clicks.positive.sum()) for clicks in seen] == [9, 18, 27]
    assert noc(reached, 0.3) == 1
    assert noc(reached, 0.75 - 1e-6) == 2
    assert noc(reached, 0.9) == 3


def test_what_is_never_found_costs_all_rounds():
    truth = filled((30, 30), 5, 5, 25, 25)
    reached = simulate(lambda clicks: clicks.positive & truth, truth, rounds=6)
    assert len(reached) == 6
    assert reached == sorted(reached)
    assert noc(reached, 0.9, rounds=6) == 6
    assert noc(reached, 0.9) == 20


def test_wrong_arrays_are_refused_in_one_line():
    truth = filled((5, 5), 1, 1, 3, 3)
    with pytest.raises(GeometryError, match="int64"):
        depth(truth.astype(int))
    with pytest.raises(GeometryError, match="one shape"):
        iou(truth, truth[:3])
    with pytest.raises(GeometryError, match="without a pixel"):
        first_click(truth & False)


@given(st.lists(st.floats(0, 1), max_size=25), st.floats(0, 1))
def test_counts_lie_between_one_and_the_rounds(reached, threshold):
    count = noc(reached, threshold)
    assert 1 <= count <= 20
    assert count == 20 or reached[count - 1] >= threshold
