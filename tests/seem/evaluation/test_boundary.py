import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from grounding.errors import GeometryError
from seem.evaluation.boundary import contour, contour_similarity, region_similarity

PAIRS = array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


def contour_by_loops(mask):
    height, width = mask.shape
    line = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            near = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            if y == height - 1 or x == width - 1:  # along the rim only
                near = [(y, x + 1)] if y == height - 1 else [(y + 1, x)]
            inside = [mask[p] for p in near if p[0] < height and p[1] < width]
            line[y, x] = any(value != mask[y, x] for value in inside)
    return line


def share_near(line, other, radius):
    places, others = np.argwhere(line), np.argwhere(other)
    distances = np.hypot(*(places[:, None] - others[None]).transpose(2, 0, 1))
    return (distances.min(1) <= radius).mean()


@given(PAIRS)
def test_contours_are_those_of_the_rule(pair):
    for mask in pair:
        np.testing.assert_array_equal(contour(mask), contour_by_loops(mask))


@given(PAIRS, st.sampled_from([0.008, 0.1, 0.2]))
def test_similarity_is_what_distances_give(pair, tolerance):
    truth, found = pair
    wanted, given_ = contour_by_loops(truth), contour_by_loops(found)
    similarity = contour_similarity(truth, found, tolerance=tolerance)
    if not wanted.any() or not given_.any():
        assert similarity == (wanted.any() == given_.any())
        return
    radius = math.ceil(tolerance * math.hypot(*truth.shape))
    precision, recall = share_near(given_, wanted, radius), share_near(wanted, given_, radius)
    expected = 2 * precision * recall / (precision + recall) if precision + recall else 0
    assert similarity == pytest.approx(expected)


def test_a_small_shift_keeps_the_contour_and_a_large_one_loses_it():
    mask = np.zeros((480, 854), bool)
    mask[100:300, 200:500] = True
    assert contour_similarity(mask, np.roll(mask, 7, 1)) > 0.99
    assert contour_similarity(mask, np.roll(mask, 30, 1)) < 0.8
    assert region_similarity(mask, np.roll(mask, 30, 1)) == pytest.approx(270 / 330)


def test_empty_masks_agree_and_void_does_not_count():
    none, some = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    some[2:6, 2:6] = True
    assert region_similarity(none, none) == contour_similarity(none, none) == 1
    assert region_similarity(some, none) == contour_similarity(some, none) == 0
    assert (
        region_similarity(none, some, void=some) == contour_similarity(none, some, void=some) == 1
    )


def test_masks_of_two_sizes_are_refused():
    with pytest.raises(GeometryError, match="one shape"):
        region_similarity(np.zeros((2, 2), bool), np.zeros((2, 3), bool))
