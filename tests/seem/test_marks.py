"""Marks: pixels of the original become pixels of the padded image, and nonsense is refused."""

import math

import numpy as np
import pytest
import torch

from grounding.errors import PromptError
from grounding.masks import bitmap_to_rle
from grounding.region import Point, Region, Stroke
from seem.clicks import box_click
from seem.marks import draw, pixel_marks, region_marks
from seem.preprocess import ImageSize

ORIGINAL = (50, 70)
SIZE = ImageSize(original=ORIGINAL, image=(100, 140), padded=(128, 160))


def places(bitmap: torch.Tensor) -> set[tuple[int, int]]:
    return {(int(y), int(x)) for y, x in bitmap.nonzero()}


def square(y: int, x: int) -> set[tuple[int, int]]:
    return {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)}


def test_points_are_squares_around_the_pixel_they_lie_in() -> None:
    marks = pixel_marks(ORIGINAL, points=[[10, 20], [30.9, 5.2]], labels=[1, 0])
    drawing = draw(marks, SIZE, box_mode="corners")
    assert places(drawing.positive) == square(41, 21)
    assert places(drawing.negative) == square(11, 61)
    assert torch.equal(drawing.evidence, drawing.positive)


def test_corner_pixels_can_be_clicked_and_padding_stays_empty() -> None:
    marks = pixel_marks(ORIGINAL, points=[[0, 0], [69, 49], [69.99, 49.99]])
    drawing = draw(marks, SIZE, box_mode="corners")
    assert drawing.positive.shape == SIZE.padded
    assert drawing.positive[0, 0]
    assert drawing.positive[99, 139]
    assert not drawing.positive[100:].any()
    assert not drawing.positive[:, 140:].any()


def test_strokes_and_masks_are_scaled() -> None:
    drawing = draw(
        pixel_marks(ORIGINAL, strokes=[[[10, 10], [40, 10]], [[5, 40]]], stroke_labels=[1, 0]),
        SIZE,
        box_mode="corners",
    )
    assert drawing.positive[21, 21:81].all()
    assert drawing.negative[81, 11]
    assert not (drawing.positive & drawing.negative).any()
    mask = np.zeros(ORIGINAL, bool)
    mask[10:20, 30:40] = True
    drawing = draw(pixel_marks(ORIGINAL, mask=mask), SIZE, box_mode="corners")
    expected = torch.zeros(SIZE.padded, dtype=torch.bool)
    expected[20:40, 60:80] = True
    assert torch.equal(drawing.positive, expected)


def test_a_mask_of_one_pixel_survives_shrinking() -> None:
    mask = np.zeros((400, 560), np.uint8)
    mask[201, 303] = 1
    drawing = draw(pixel_marks((400, 560), mask=mask), SIZE, box_mode="corners")
    assert places(drawing.positive) == {(50, 75)}


def test_a_box_is_its_deepest_pixel_unless_something_is_drawn() -> None:
    box = [10, 10, 40, 30]
    click = torch.from_numpy(box_click([20, 20, 80, 60], SIZE.image))
    for mode in ("corners", "centre"):
        drawing = draw(pixel_marks(ORIGINAL, box=box), SIZE, box_mode=mode)
        assert torch.equal(drawing.positive[:100, :140], click)
        assert not drawing.evidence.any()
    both = pixel_marks(ORIGINAL, box=box, points=[[12, 12]])
    assert places(draw(both, SIZE, box_mode="corners").positive) == square(25, 25)
    assert draw(both, SIZE, box_mode="centre").positive.sum() == 18


def test_boxes_are_cut_off_at_the_image() -> None:
    assert pixel_marks(ORIGINAL, box=[-5, 10, 200, 25]).box == (0, 0.2, 1, 0.5)


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        ({"points": [[70, 10]]}, "must lie on the image of 70 x 50 pixels"),
        ({"points": [[10, -1]]}, "got x=10, y=-1"),
        ({"points": [[math.nan, 1]]}, "finite"),
        ({"points": [[math.inf, 1]]}, "finite"),
        ({"points": [1, 2]}, "pairs x, y"),
        ({"points": []}, "pairs x, y"),
        ({"points": [[1, 2, 3]]}, "pairs x, y"),
        ({"points": "here"}, "numbers"),
        ({"points": [[1, 2], [3]]}, "numbers"),
        ({"points": [[1, 2]], "labels": [1, 0]}, "one for each of the 1 points"),
        ({"points": [[1, 2]], "labels": [2]}, "1 .on the object. or 0"),
        ({"labels": [1]}, "labels belong to points"),
        ({"stroke_labels": [1]}, "belong to strokes"),
        ({"strokes": []}, "at least one polyline"),
        ({"strokes": [[]]}, "stroke 0 must be pairs"),
        ({"strokes": [[[1, 1]], [[1, 99]]]}, "stroke 1 must lie on the image"),
        ({"box": [30, 10, 20, 20]}, "x0 < x1"),
        ({"box": [30, 10, 30, 20]}, "x0 < x1"),
        ({"box": [80, 10, 90, 20]}, "overlap the image"),
        ({"box": [1, 2, 3]}, "x0, y0, x1, y1"),
        ({"box": [1, 2, math.nan, 4]}, "finite"),
        ({"mask": np.ones((3, 3))}, r"image's shape \[50, 70\]"),
        ({"mask": np.zeros(ORIGINAL)}, "at least one pixel"),
        ({"mask": np.full(ORIGINAL, 0.5)}, "0 and 1"),
    ],
)
def test_nonsense_is_refused_in_one_line(drawn: dict, message: str) -> None:
    with pytest.raises(PromptError, match=message) as error:
        pixel_marks(ORIGINAL, **drawn)
    assert "\n" not in str(error.value)


def test_a_region_says_clicks_first_then_its_area() -> None:
    bitmap = np.zeros(ORIGINAL, bool)
    bitmap[5:9, 7:20] = True
    box, mask = (0.1, 0.1, 0.5, 0.5), bitmap_to_rle(bitmap)
    point, stroke = Point(xy=(0.5, 0.5)), Stroke(xy=((0.1, 0.1),))
    clicked = region_marks(Region(points=(point,), strokes=(stroke,), box=box), ORIGINAL)
    assert (clicked.points, clicked.strokes, clicked.box) == ((point,), (stroke,), box)
    again = region_marks(Region(points=(point,), box=box, mask=mask), ORIGINAL)
    assert again.points == (point,)
    assert again.box is None
    assert again.mask is None
    masked = region_marks(Region(mask=mask, box=box), ORIGINAL)
    assert masked.mask is not None
    assert np.array_equal(masked.mask, bitmap)
    assert masked.box is None
    ring = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9))
    outlined = region_marks(Region(polygon=(ring,)), ORIGINAL)
    assert outlined.mask is not None
    assert outlined.mask.shape == ORIGINAL
    assert region_marks(Region(box=box), ORIGINAL).box == box
    assert not region_marks(Region(phrase="llama"), ORIGINAL)


def test_the_outline_of_a_box_is_no_evidence_against() -> None:
    marks = pixel_marks(ORIGINAL, box=[10, 10, 30, 30])
    drawing = draw(marks, SIZE, box_mode="outline")
    assert drawing.negative.any()
    assert not drawing.counter_evidence.any()
    marks = pixel_marks(ORIGINAL, points=[[20, 20], [3, 3]], labels=[1, 0], box=[10, 10, 30, 30])
    drawing = draw(marks, SIZE, box_mode="outline")
    assert 0 < drawing.counter_evidence.sum() < drawing.negative.sum()
