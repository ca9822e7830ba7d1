"""Mattes: hard where they must be, soft inside."""

import numpy as np
import pytest

from pipelines.edit.matte import grown, laid, matte

AREA = np.zeros((20, 24), bool)
AREA[5:15, 6:20] = True


@pytest.mark.parametrize("feather", [0, 1, 3])
def test_nothing_changes_outside(feather):
    share = matte(AREA, feather)
    assert (share[~AREA] == 0).all()
    assert (share[AREA] > 0).all()
    assert share[10, 12] == 1
    old = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    new = laid(255 - old, old, share)
    assert (new[~AREA] == old[~AREA]).all()
    assert (new[10, 12] == 255 - old[10, 12]).all()


def test_an_edge_fades_inwards():
    share = matte(AREA, 3)[10]
    assert np.allclose(share[6:11], [0.25, 0.5, 0.75, 1, 1], atol=0.05)


def test_the_edge_of_the_picture_is_no_edge():
    everything = np.ones((8, 8), bool)
    everything[:, 6:] = False
    assert matte(everything, 2)[4, 0] == 1


def test_areas_grow_in_all_directions():
    point = np.zeros((9, 9), bool)
    point[4, 4] = True
    assert (grown(point, 0) == point).all()
    assert not grown(np.zeros((9, 9), bool), 3).any()
    assert grown(np.ones((9, 9), bool), 3).all()
    assert grown(point, 1).sum() == 5
    assert grown(point, 3)[4, 1:8].all()
