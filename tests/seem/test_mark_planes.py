"""Planes of marks: each mark has its own, and weighs as an example."""

import numpy as np
import pytest
import torch

from grounding.region import Point, Stroke
from seem.mark_planes import INSIDE_PREVIOUS, OUTSIDE_BOX, OUTSIDE_PREVIOUS, PLANES, mark_planes
from seem.marks import Marks
from seem.preprocess import ImageSize

SIZE = ImageSize(original=(120, 160), image=(48, 64), padded=(64, 64))  # 12 x 16 of 16 x 16 cells
CENTRE = (8.5 / 16, 6.5 / 12)  # the middle of the cell of row 6, column 8


def planes_of(marks: Marks, previous=None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    found = mark_planes([marks], SIZE, previous)
    assert found.planes.shape == (1, PLANES, 16, 16)
    assert found.positive.shape == found.negative.shape == (1, 1, 16, 16)
    return found.planes[0], found.positive[0, 0], found.negative[0, 0]


@pytest.mark.parametrize("label", [1, 0])
def test_a_click_is_two_discs_of_its_sign(label: int) -> None:
    planes, positive, negative = planes_of(Marks(points=(Point(xy=CENTRE, label=label),)))
    first = 0 if label else 2
    for plane in planes[first : first + 2]:
        assert divmod(int(plane.argmax()), 16) == (6, 8)
        assert plane.max() == 1
    assert planes[first + 1].sum() > 9 * planes[first].sum()
    used, other = (positive, negative) if label else (negative, positive)
    assert torch.equal(used, planes[first])
    assert not other.any()
    others = [i for i in range(PLANES) if i not in (first, first + 1)]
    assert not planes[others].any()


def test_clicks_of_one_sign_do_not_add_up() -> None:
    point = Point(xy=CENTRE, label=1)
    assert torch.equal(
        planes_of(Marks(points=(point,)))[0], planes_of(Marks(points=(point, point)))[0]
    )


def test_a_box_covers_cells_and_says_that_it_is_there() -> None:
    planes, positive, negative = planes_of(Marks(box=(4 / 16, 3 / 12, 8.5 / 16, 9 / 12)))
    expected = torch.zeros(16, 16)
    expected[3:9, 4:8], expected[3:9, 8] = 1, 0.5
    torch.testing.assert_close(planes[4], expected)
    assert (planes[5] == 1).all()
    torch.testing.assert_close(negative, (1 - expected) * OUTSIDE_BOX)
    y, x = divmod(int(positive.argmax()), 16)  # its middle stands for the object
    assert (y, x) in {(5, 5), (6, 5), (5, 6), (6, 6)}
    assert positive.max() <= 1


def test_what_is_drawn_on_the_object_stands_for_it_in_place_of_the_boxs_middle() -> None:
    box = (4 / 16, 3 / 12, 8.5 / 16, 9 / 12)
    both = planes_of(Marks(box=box, points=(Point(xy=(5 / 16, 4 / 12), label=1),)))
    click = planes_of(Marks(points=(Point(xy=(5 / 16, 4 / 12), label=1),)))
    assert torch.equal(both[1], click[1])


@pytest.mark.parametrize("label", [1, 0])
def test_strokes_have_a_plane_for_each_sign(label: int) -> None:
    line = Stroke(xy=((2 / 16, CENTRE[1]), (12 / 16, CENTRE[1])), width=0.06, label=label)
    planes, positive, negative = planes_of(Marks(strokes=(line,)))
    plane = planes[6 if label else 7]
    assert plane[6, 3:12].min() > 0.9
    assert not plane[9:].any()
    assert torch.equal(positive if label else negative, plane)
    assert not (negative if label else positive).any()


def test_a_mask_is_brought_to_the_cells_and_padding_stays_empty() -> None:
    mask = np.zeros((120, 160), bool)
    mask[:, 80:] = True
    planes, positive, _ = planes_of(Marks(mask=mask))
    expected = torch.zeros(16, 16)
    expected[:12, 8:] = 1
    torch.testing.assert_close(planes[6], expected)
    assert torch.equal(positive, planes[6])


def test_the_last_answer_comes_back() -> None:
    previous = torch.full((1, 16, 16), 0.1)
    previous[0, 2:5, 2:5] = 0.9
    planes, positive, negative = planes_of(Marks(points=(Point(xy=CENTRE, label=0),)), previous)
    torch.testing.assert_close(planes[8], previous[0] - 0.5)
    assert (planes[9] == 1).all()
    assert positive.max() == pytest.approx(INSIDE_PREVIOUS)
    assert negative[0, 15] == pytest.approx(OUTSIDE_PREVIOUS)
    assert negative[3, 3] < 0.01


def test_nothing_drawn_says_so_and_objects_are_apart() -> None:
    click = Marks(points=(Point(xy=CENTRE, label=1),))
    found = mark_planes([Marks(), click], SIZE)
    assert (found.planes[0, 10] == 1).all()
    assert not found.planes[0, :10].any()
    assert not found.positive[0].any()
    assert torch.equal(found.planes[1], planes_of(click)[0])
