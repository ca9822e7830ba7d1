import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from grounding.errors import GeometryError
from seem.evaluation.marks import around, mark_generator, rough, scribble

BITMAPS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)).filter(
    lambda bitmap: bitmap.any()
)


def ring(outer=40, inner=25, side=120):
    ys, xs = np.mgrid[:side, :side] - side // 2
    return (np.hypot(ys, xs) < outer) & (np.hypot(ys, xs) > inner)


@given(BITMAPS, st.integers(0, 99))
def test_every_vertex_of_a_scribble_lies_on_the_object(bitmap, seed):
    line = scribble(bitmap, np.random.default_rng(seed))
    assert line.shape[1] == 2
    assert len(line)
    assert bitmap[line[:, 1], line[:, 0]].all()


def test_a_scribble_runs_along_the_middle_for_at_least_half_of_it():
    bar = np.zeros((60, 200), bool)
    bar[20:41, 10:190] = True
    for seed in range(20):
        line = scribble(bar, np.random.default_rng(seed))
        length = np.hypot(*np.diff(line, axis=0).T).sum()
        assert 0.4 * 160 < length <= 180
        assert (np.abs(line[:, 1] - 30) <= 2).all()


def test_a_scribble_stays_on_the_largest_part():
    parts = np.zeros((50, 90), bool)
    parts[5:15, 5:15] = True
    parts[20:45, 30:80] = True
    line = scribble(parts, np.random.default_rng(0))
    assert (line[:, 0] >= 30).all()


def test_a_scribble_is_the_same_for_the_same_object_only():
    lines = [
        scribble(ring(), mark_generator(name, index)).tolist()
        for name, index in (("a", 0), ("a", 0), ("a", 1), ("b", 0))
    ]
    assert lines[0] == lines[1]
    assert lines[0] != lines[2]
    assert lines[0] != lines[3]


@given(BITMAPS)
def test_a_box_is_as_small_as_it_can_be(bitmap):
    x0, y0, x1, y1 = around(bitmap)
    ys, xs = np.nonzero(bitmap)
    assert (x0, y0, x1, y1) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def test_a_rough_mask_goes_a_tenth_of_the_size_beyond():
    square = np.zeros((100, 100), bool)
    square[30:70, 30:70] = True
    assert around(rough(square)) == (26, 26, 74, 74)
    dot = np.zeros((5, 5), bool)
    dot[2, 2] = True
    assert rough(dot).sum() == 5


def test_empty_masks_cannot_be_marked():
    empty = np.zeros((4, 4), bool)
    with pytest.raises(GeometryError, match="leave it out"):
        scribble(empty, np.random.default_rng(0))
    with pytest.raises(GeometryError, match="leave it out"):
        around(empty)
