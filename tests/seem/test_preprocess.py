"""Normalisation, padding, and the way back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import LavallamaError
from seem.preprocess import PIXEL_MEAN, PIXEL_STD, preprocess

SIDES = st.integers(1, 70)


def some_image(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 100 + width)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


@given(height=SIDES, width=SIDES)
def test_the_picture_stays_top_left_and_the_rest_is_zero(height, width):
    image = some_image(height, width)
    batch = preprocess([image], divisor=32)
    (size,) = batch.sizes
    assert batch.pixels.shape == (1, 3, *size.padded)
    for side, padded in zip((height, width), size.padded, strict=True):
        assert padded % 32 == 0
        assert side <= padded < side + 32
    back = size.crop(batch.pixels)[0]
    mean, deviation = torch.tensor(PIXEL_MEAN), torch.tensor(PIXEL_STD)
    restored = back * deviation[:, None, None] + mean[:, None, None]
    torch.testing.assert_close(restored, image.float(), rtol=0, atol=1e-3)
    assert not batch.pixels[:, :, height:].any()
    assert not batch.pixels[:, :, :, width:].any()


def test_the_mean_colour_becomes_zero_and_one_deviation_one():
    mean, deviation = torch.tensor(PIXEL_MEAN), torch.tensor(PIXEL_STD)
    image = torch.stack((mean, mean + deviation), dim=1)[:, None]
    pixels = preprocess([image], divisor=2).pixels
    torch.testing.assert_close(pixels[0, :, 0], torch.tensor([[0.0, 1.0]] * 3))


def test_bytes_and_floats_are_the_same():
    image = some_image(20, 30)
    pixels = preprocess([image], divisor=32).pixels
    assert pixels.dtype == torch.float32
    assert torch.equal(pixels, preprocess([image.double()], divisor=32).pixels)


def test_a_batch_is_its_images_one_by_one():
    images = [some_image(33, 20), some_image(64, 32)]
    batch = preprocess(images, divisor=32, originals=[(330, 200), (64, 32)])
    for number, image in enumerate(images):
        assert torch.equal(batch.pixels[number], preprocess([image], divisor=32).pixels[0])
    assert [size.image for size in batch.sizes] == [(33, 20), (64, 32)]
    assert [size.original for size in batch.sizes] == [(330, 200), (64, 32)]


@pytest.mark.parametrize(
    ("images", "originals", "cure"),
    [
        ([], None, "at least one image"),
        ([torch.zeros(1, 8, 8)], None, r"RGB of shape \[3, height, width\]; got \[1, 8, 8\]"),
        ([torch.zeros(3, 0, 8)], None, "RGB of shape"),
        ([torch.zeros(3, 8, 8), torch.zeros(3, 8, 40)], None, "32x32, 32x64: run them one by one"),
        ([torch.zeros(3, 8, 8)], [], "1 images, 0 sizes"),
    ],
)
def test_what_is_no_batch_is_refused(images, originals, cure):
    with pytest.raises(LavallamaError, match=cure):
        preprocess(images, divisor=32, originals=originals)


def test_only_maps_of_the_padded_size_are_cropped():
    (size,) = preprocess([some_image(20, 30)], divisor=32).sizes
    assert size.crop(torch.zeros(5, 32, 32)).shape == (5, 20, 30)
    with pytest.raises(LavallamaError, match="32x32 can be cropped; got 8x8"):
        size.crop(torch.zeros(5, 8, 8))
