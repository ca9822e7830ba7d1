"""Bitmaps against run lengths, polygons, strokes and boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco

from grounding import masks
from grounding.errors import GeometryError
from grounding.prompt import Keypoint, Region, RleMask, Stroke

bitmaps = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
    lambda shape: arrays(bool, shape, elements=st.booleans())
)


def disc(width: int, height: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 < radius**2


@given(bitmaps, st.booleans())
def test_run_lengths_round_trip(bitmap: np.ndarray, compressed: bool) -> None:
    mask = masks.bitmap_to_rle(bitmap, compressed=compressed)
    np.testing.assert_array_equal(masks.rle_to_bitmap(mask), bitmap)
    assert isinstance(mask.counts, str) == compressed


@given(bitmaps)
def test_run_lengths_agree_with_pycocotools(bitmap: np.ndarray) -> None:
    mask = masks.bitmap_to_rle(bitmap)
    assert isinstance(mask.counts, str)
    theirs = {"size": list(mask.size), "counts": mask.counts.encode()}
    np.testing.assert_array_equal(coco.decode(theirs).astype(bool), bitmap)
    plain = masks.bitmap_to_rle(bitmap, compressed=False)
    packed = coco.frPyObjects({"size": list(plain.size), "counts": list(plain.counts)}, *plain.size)
    assert packed["counts"].decode() == mask.counts


def test_large_runs_are_decoded() -> None:
    bitmap = np.zeros((2000, 1500), bool)
    bitmap[3:1990, 700:1100] = True
    mask = masks.bitmap_to_rle(bitmap)
    np.testing.assert_array_equal(masks.rle_to_bitmap(mask), bitmap)


@given(bitmaps)
def test_polygons_restore_bitmaps_without_holes(bitmap: np.ndarray) -> None:
    size = (bitmap.shape[1], bitmap.shape[0])
    filled = masks.polygon_to_bitmap(masks.bitmap_to_polygon(bitmap), size)
    assert (filled >= bitmap).all()  # holes are filled, nothing is lost
    again = masks.polygon_to_bitmap(masks.bitmap_to_polygon(filled), size)
    np.testing.assert_array_equal(again, filled)


def test_polygon_of_a_disc_is_exact_and_can_be_simplified() -> None:
    bitmap = disc(80, 60, 40, 30, 20)
    rings = masks.bitmap_to_polygon(bitmap)
    np.testing.assert_array_equal(masks.polygon_to_bitmap(rings, (80, 60)), bitmap)
    simple = masks.bitmap_to_polygon(bitmap, tolerance=1.0)
    assert len(simple[0]) < len(rings[0])
    coarse = masks.polygon_to_bitmap(simple, (80, 60))
    assert (coarse ^ bitmap).sum() < 0.1 * bitmap.sum()
    assert Region(polygon=simple).bounds() is not None


def test_boxes_of_bitmaps_cover_their_pixels() -> None:
    bitmap = np.zeros((10, 20), bool)
    assert masks.bitmap_to_box(bitmap) is None
    bitmap[2:5, 4:10] = True
    assert masks.bitmap_to_box(bitmap) == (0.2, 0.2, 0.5, 0.5)
    np.testing.assert_array_equal(masks.box_to_bitmap((0.2, 0.2, 0.5, 0.5), (20, 10)), bitmap)


def test_strokes_are_painted_with_round_ends_of_their_width() -> None:
    stroke = Stroke(xy=((0.25, 0.5), (0.75, 0.5)), width=0.1)
    negative = Stroke(xy=((0.5, 0.1),), width=0.05, label=0)
    bitmap = masks.strokes_to_bitmap([stroke, negative], (200, 100))
    columns, rows = np.flatnonzero(bitmap.any(0)), np.flatnonzero(bitmap.any(1))
    assert (rows[0] + rows[-1]) / 2 == pytest.approx(49.5, abs=1)
    assert rows.size == pytest.approx(20, abs=2)
    assert columns[0] == pytest.approx(40, abs=2)
    assert columns[-1] == pytest.approx(159, abs=2)
    other = masks.strokes_to_bitmap([stroke, negative], (200, 100), label=0)
    assert other.any()
    assert not (other & bitmap).any()


def test_a_bar_becomes_a_stroke_and_comes_back() -> None:
    bar = masks.strokes_to_bitmap([Stroke(xy=((0.2, 0.3), (0.8, 0.7)), width=0.08)], (240, 160))
    bar |= masks.strokes_to_bitmap([Stroke(xy=((0.1, 0.9),), width=0.05)], (240, 160))
    strokes = masks.bitmap_to_strokes(bar)
    assert len(strokes) == 2
    again = masks.strokes_to_bitmap(strokes, (240, 160))
    assert (again & bar).sum() / (again | bar).sum() > 0.75
    assert masks.bitmap_to_strokes(np.zeros((5, 5), bool)) == ()


@given(bitmaps)
def test_every_part_gets_a_stroke_that_touches_it(bitmap: np.ndarray) -> None:
    strokes = masks.bitmap_to_strokes(bitmap)
    assert bool(strokes) == bool(bitmap.any())
    height, width = bitmap.shape
    for stroke in strokes:
        x, y = stroke.xy[0]
        assert bitmap[int(y * height), int(x * width)]


def test_regions_prefer_mask_then_polygon_then_box() -> None:
    bitmap = disc(40, 40, 20, 20, 10)
    region = Region(
        box=(0.0, 0.0, 0.1, 0.1),
        polygon=(((0.5, 0.5), (0.9, 0.5), (0.9, 0.9)),),
        mask=masks.bitmap_to_rle(bitmap),
    )
    found = masks.region_bitmap(region, (40, 40))
    np.testing.assert_array_equal(found, bitmap)
    resized = masks.region_bitmap(region, (80, 60))
    assert resized is not None
    assert resized.shape == (60, 80)
    polygon = masks.region_bitmap(region.replace(mask=None), (40, 40))
    assert polygon is not None
    assert polygon.sum() == pytest.approx(128, rel=0.2)
    box = masks.region_bitmap(Region(box=(0, 0, 0.5, 0.5)), (40, 40))
    assert box is not None
    assert box.sum() == 400
    assert masks.region_bitmap(Region(phrase="nowhere"), (4, 4)) is None


def test_region_boxes() -> None:
    bitmap = np.zeros((10, 20), bool)
    bitmap[2:5, 4:10] = True
    assert masks.region_box(Region(mask=masks.bitmap_to_rle(bitmap))) == (0.2, 0.2, 0.5, 0.5)
    ring = ((0.1, 0.2), (0.6, 0.3), (0.3, 0.9))
    assert masks.region_box(Region(polygon=(ring,))) == (0.1, 0.2, 0.6, 0.9)
    joints = (Keypoint(xy=(0.1, 0.2)), Keypoint(xy=(0.4, 0.5)), Keypoint(xy=(0, 0), visibility=0))
    assert masks.region_box(Region(keypoints=joints)) == (0.1, 0.2, 0.4, 0.5)
    assert masks.region_box(Region(keypoints=joints[:1])) is None
    assert masks.region_box(Region(mask=RleMask(size=(2, 2), counts=(4,)))) is None


def test_what_is_no_bitmap_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"\[height, width\].*\(2, 2, 3\)"):
        masks.bitmap_to_rle(np.zeros((2, 2, 3)))


def test_every_pixel_of_a_picture_that_is_not_black_counts_in_every_mode() -> None:
    drawn = np.zeros((4, 6), np.uint8)
    drawn[1, 1:3], drawn[2, 4] = 1, 3
    wanted = drawn > 0
    dark = np.zeros((4, 6, 3), np.uint8)
    dark[..., 2] = drawn
    indexed = Image.fromarray(drawn, "P")
    indexed.putpalette([0, 0, 0, 200, 0, 0, 9, 9, 9, 0, 0, 1])
    pictures = {
        "1": Image.fromarray(wanted),
        "L": Image.fromarray(drawn),
        "P": indexed,
        "I;16": Image.fromarray(drawn.astype(np.uint16)),
        "I": Image.fromarray(drawn.astype(np.int32)),
        "F": Image.fromarray(drawn / np.float32(1000)),
        "RGB": Image.fromarray(dark),
        "RGBA": Image.fromarray(dark).convert("RGBA"),
    }
    for mode, picture in pictures.items():
        assert picture.mode == mode
        np.testing.assert_array_equal(masks.picture_to_bitmap(picture), wanted)
    indexed.putpalette([255, 255, 255, 0, 0, 0, 9, 9, 9, 0, 0, 0])  # colours count, not places
    np.testing.assert_array_equal(masks.picture_to_bitmap(indexed), ~wanted)
