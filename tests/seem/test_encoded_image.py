"""Images: the size at which the model sees them, and what is kept of them."""

from types import SimpleNamespace
from typing import cast

import pytest

from grounding.errors import PromptError
from seem.config import CONFIGS
from seem.encoded_image import Resizing, default_resizing, encode_image, object_predictions
from seem.model import Seem
from tests.seem.predicting import picture
from tests.seem.tiny import tiny_seem


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((480, 640), (512, 683)), ((2048, 1024), (1024, 512)), ((100, 1000), (205, 2048))],
)
def test_images_are_as_large_as_both_limits_allow(
    size: tuple[int, int], fitted: tuple[int, int]
) -> None:
    assert Resizing().fit(size) == fitted


def test_a_line_of_pixels_keeps_a_side() -> None:
    assert Resizing(short_side=64, long_side=128).fit((1, 1000)) == (1, 128)


@pytest.mark.parametrize("sides", [(0, 5), (6, 5)])
def test_impossible_sizes_are_refused(sides: tuple[int, int]) -> None:
    with pytest.raises(PromptError, match="short_side <= long_side"):
        Resizing(short_side=sides[0], long_side=sides[1])


def test_sam_backbones_see_a_square_of_1024() -> None:
    model = SimpleNamespace(config=CONFIGS["samvitb"])  # built, it would take seconds
    fitted = [
        default_resizing(cast(Seem, model)).fit(size) for size in ((480, 640), (640, 640), (9, 900))
    ]
    assert fitted == [(768, 1024), (1000, 1000), (10, 1024)]
    assert default_resizing(tiny_seem("v1")) == Resizing()


def test_object_queries_are_asked_once() -> None:
    model = tiny_seem("v1")
    image = encode_image(model, picture(), Resizing(short_side=64, long_side=128))
    assert image.size.image == (64, 90)
    assert image.size.padded == (64, 96)
    assert image.size.original == (50, 70)
    assert object_predictions(model, image) is object_predictions(model, image)
