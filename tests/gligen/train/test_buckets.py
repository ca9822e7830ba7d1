"""Aspect buckets: sizes a model can draw, and where pictures lie on them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gligen.train.buckets import bucket_sizes, nearest_bucket, placement

sides = st.integers(1, 3000)


def test_buckets_fit_the_model():
    buckets = bucket_sizes((512, 512), 64, 2.0)
    assert (512, 512) in buckets
    assert (704, 320) not in buckets  # longer than twice as wide as high
    assert (640, 384) in buckets
    assert (384, 640) in buckets
    for width, height in buckets:
        assert width % 64 == height % 64 == 0
        assert width * height <= 512 * 512
    assert bucket_sizes((512, 768), 64, 1.0) == ((512, 768),)


@pytest.mark.parametrize(
    ("size", "bucket"),
    [((640, 640), (512, 512)), ((640, 427), (640, 384)), ((90, 200), (384, 640))],
)
def test_a_picture_goes_to_the_nearest_shape(size, bucket):
    assert nearest_bucket(size, bucket_sizes((512, 512), 64, 2.0)) == bucket


@given(sides, sides)
def test_a_picture_covers_its_bucket(width, height):
    bucket = nearest_bucket((width, height), bucket_sizes((512, 512), 64, 2.0))
    x0, y0, x1, y1 = placement((width, height), bucket).placed()
    assert x0 <= 0
    assert y0 <= 0
    assert x1 >= bucket[0]
    assert y1 >= bucket[1]
