"""Box conversions and exact maps between canvases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding import geometry
from grounding.errors import GeometryError
from grounding.geometry import CanvasMap, crop, letterbox, pad, resize

coordinate = st.floats(-1e4, 1e4, allow_nan=False)
box = st.tuples(coordinate, coordinate, coordinate, coordinate)
side = st.integers(1, 4096)
size = st.tuples(side, side)


@st.composite
def canvas_maps(draw: st.DrawFn) -> CanvasMap:
    source = draw(size)
    kind = draw(st.sampled_from(["resize", "crop", "pad", "letterbox"]))
    if kind == "resize":
        return resize(source, draw(size))
    if kind == "letterbox":
        return letterbox(source, draw(size))
    if kind == "pad":
        return pad(source, *(draw(st.integers(0, 500)) for _ in range(4)))
    left, top = draw(st.integers(0, source[0] - 1)), draw(st.integers(0, source[1] - 1))
    width = draw(st.integers(1, source[0] - left))
    return crop(source, left, top, width, draw(st.integers(1, source[1] - top)))


@pytest.mark.parametrize(
    ("there", "back"),
    [
        (geometry.xywh_to_xyxy, geometry.xyxy_to_xywh),
        (geometry.cxcywh_to_xyxy, geometry.xyxy_to_cxcywh),
        (geometry.percent_to_normalized, geometry.normalized_to_percent),
        (
            lambda b: geometry.pixels_to_normalized(b, (640, 480)),
            lambda b: geometry.normalized_to_pixels(b, (640, 480)),
        ),
    ],
)
@given(box=box)
def test_conversions_invert_each_other(there, back, box) -> None:
    assert back(there(box)) == pytest.approx(box, abs=1e-8)
    assert there(back(box)) == pytest.approx(box, abs=1e-8)


def test_conversions_by_hand() -> None:
    assert geometry.xywh_to_xyxy((10, 20, 30, 40)) == (10, 20, 40, 60)
    assert geometry.cxcywh_to_xyxy((10, 20, 4, 8)) == (8, 16, 12, 24)
    assert geometry.pixels_to_normalized((64, 48, 640, 480), (640, 480)) == (0.1, 0.1, 1, 1)
    assert geometry.percent_to_normalized((10, 20, 50, 100)) == (0.1, 0.2, 0.5, 1)


def test_area_union_and_iou_by_hand() -> None:
    a, b = (0.0, 0.0, 2.0, 2.0), (1.0, 1.0, 3.0, 3.0)
    assert geometry.box_area(a) == 4
    assert geometry.box_intersection(a, b) == (1, 1, 2, 2)
    assert geometry.box_union(a, b) == (0, 0, 3, 3)
    assert geometry.box_iou(a, b) == pytest.approx(1 / 7)
    assert geometry.box_iou(a, a) == 1
    assert geometry.box_iou(a, (2.0, 0.0, 3.0, 1.0)) == 0
    assert geometry.box_iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0
    assert geometry.clip_xyxy((-1, 0.5, 0.5, 2)) == (0, 0.5, 0.5, 1)
    assert geometry.clip_xyxy((1.5, 0, 2, 1)) is None


@given(box, box)
def test_iou_is_symmetric_and_bounded(a, b) -> None:
    assert geometry.box_iou(a, b) == geometry.box_iou(b, a)
    assert 0 <= geometry.box_iou(a, b) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((0.6, 0, 0.2, 1), "x0 must be below x1, got 0.6 and 0.2; swap them"),
        ((0, 1, 1, 1), "y0 must be below y1, got 1 and 1; a box needs an extent"),
        ((0, 0, float("nan"), 1), "finite"),
    ],
)
def test_check_xyxy_says_what_is_wrong(wrong, message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        geometry.check_xyxy(wrong)


@given(canvas_maps())
def test_inverse_is_exact(mapping: CanvasMap) -> None:
    there_and_back = mapping.then(mapping.inverse())
    assert there_and_back == CanvasMap(mapping.source, mapping.source)
    assert mapping.inverse().inverse() == mapping


@given(canvas_maps(), coordinate, coordinate)
def test_points_come_back(mapping: CanvasMap, x: float, y: float) -> None:
    assert mapping.inverse().point(*mapping.point(x, y)) == pytest.approx((x, y), abs=1e-7)


@given(canvas_maps(), size, coordinate, coordinate)
def test_composition_is_one_after_the_other(mapping: CanvasMap, target, x, y) -> None:
    after = resize(mapping.target, target)
    both = mapping.then(after).point(x, y)
    assert both == pytest.approx(after.point(*mapping.point(x, y)), rel=1e-9, abs=1e-7)


@given(canvas_maps())
def test_normalized_boxes_agree_with_pixels(mapping: CanvasMap) -> None:
    box = (0.125, 0.25, 0.5, 0.75)
    pixels = mapping.box(geometry.normalized_to_pixels(box, mapping.source))
    expected = geometry.pixels_to_normalized(pixels, mapping.target)
    assert mapping.normalized_box(box) == pytest.approx(expected, abs=1e-9)


@given(size, size)
def test_letterbox_fits_whole_pixels_inside_and_touches_two_edges(source, target) -> None:
    x0, y0, x1, y1 = letterbox(source, target).placed()
    assert all(value.is_integer() for value in (x0, y0, x1, y1))
    assert 0 <= x0 < x1 <= target[0]
    assert 0 <= y0 < y1 <= target[1]
    assert (x0, x1) == (0, target[0]) or (y0, y1) == (0, target[1])
    assert abs(x0 - (target[0] - x1)) <= 1
    assert abs(y0 - (target[1] - y1)) <= 1


def test_letterbox_by_hand() -> None:
    mapping = letterbox((640, 480), (512, 512))
    assert mapping.placed() == (0, 64, 512, 448)
    assert mapping.normalized_box((0, 0, 1, 1)) == (0, 0.125, 1, 0.875)
    assert mapping.inverse().normalized_box((0, 0.125, 1, 0.875)) == (0, 0, 1, 1)


def test_impossible_maps_are_refused() -> None:
    with pytest.raises(GeometryError, match="must lie inside the canvas 10x10"):
        crop((10, 10), 5, 5, 6, 1)
    with pytest.raises(GeometryError, match="margins must not be negative"):
        pad((10, 10), -1, 0, 0, 0)
    with pytest.raises(GeometryError, match="positive width and height, got 0x3"):
        resize((0, 3), (1, 1))
    with pytest.raises(GeometryError, match="do not join: the first ends on 5x5"):
        resize((10, 10), (5, 5)).then(resize((10, 10), (5, 5)))
