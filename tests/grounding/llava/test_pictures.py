import random

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.image_processing_utils import select_best_resolution

from grounding.clip_pixels import CLIP_MEAN, CLIP_STD
from grounding.errors import GeometryError
from grounding.llava.anyres import (
    PINPOINTS,
    anyres_grid,
    anyres_map,
    anyres_tokens,
    best_pinpoint,
    unpadded,
)
from grounding.llava.pictures import PictureReader
from tests.grounding.llava.tiny import config, picture

# transformers 5 calls those that work with PIL so; in 4 they have the plain names.
CLIPImageProcessorPil, LlavaNextImageProcessorPil = (
    getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    for name in ("CLIPImageProcessor", "LlavaNextImageProcessor")
)
SIZES = [(640, 480), (336, 336), (1000, 300), (300, 1000), (37, 61), (500, 499)]


def processed(image: Image.Image, side: int) -> torch.Tensor:
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    return processor(image, return_tensors="pt")["pixel_values"]


@pytest.mark.parametrize(
    ("size", "count"), [((640, 480), 2340), ((336, 336), 1176), ((1000, 300), 2182)]
)
def test_anyres_pictures_have_the_published_numbers_of_tokens(size, count):
    assert anyres_tokens(size, PINPOINTS, 336, 14) == count


def test_other_pictures_have_576():
    for version in ("v1", "v1.5"):
        small = config(version)
        small.vision.image_size, small.vision.patch_size = 336, 14
        assert small.tokens((640, 480)) == 576


def test_canvases_are_those_of_transformers_up_to_the_order_of_sides():
    draw = random.Random(0)
    swapped = [[height, width] for width, height in PINPOINTS]
    for _ in range(300):
        size = draw.randint(1, 2000), draw.randint(1, 2000)
        theirs = select_best_resolution((size[1], size[0]), swapped)
        assert best_pinpoint(size, PINPOINTS) == (theirs[1], theirs[0])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [28, 336])
def test_a_square_is_what_clip_reads(size, side):
    image = picture(*size)
    mine = PictureReader(side=side, aspect="square")(image).values
    torch.testing.assert_close(mine, processed(image, side), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_a_padded_picture_is_whole_on_clips_mean(size):
    image, side = picture(*size), 56
    square = Image.new("RGB", (max(size),) * 2, (122, 116, 104))
    square.paste(image, tuple((max(size) - length) // 2 for length in size))
    mine = PictureReader(side=side, aspect="pad")(image).values
    torch.testing.assert_close(mine, processed(square, side), rtol=0, atol=1e-5)


def test_a_padded_picture_is_not_cropped():
    image = Image.new("RGB", (400, 100), "black")
    image.paste("white", (0, 0, 40, 100))  # what a crop would lose
    tile = PictureReader(side=40, aspect="pad")(image).values[0]
    shown = tile * torch.tensor(CLIP_STD)[:, None, None] + torch.tensor(CLIP_MEAN)[:, None, None]
    assert shown[:, 20, 1].min() > 0.9
    assert shown[:, 20, 20].max() < 0.1
    margin = torch.tensor([122, 116, 104]) / 255
    torch.testing.assert_close(shown[:, 2, 20], margin, rtol=0, atol=1e-5)
    cropped = PictureReader(side=40, aspect="square")(image).values[0]
    assert torch.unique(cropped[0]).numel() == 1


@pytest.mark.parametrize("size", SIZES)
def test_tiles_are_those_of_transformers(size):
    side, pinpoints = 28, ((28, 56), (56, 28), (56, 56), (84, 28), (28, 84))
    processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_grid_pinpoints=[[height, width] for width, height in pinpoints],
    )
    image = picture(*size)
    mine = PictureReader(side=side, aspect="anyres", pinpoints=pinpoints)(image)
    theirs = processor(image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(mine.values, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("aspect", ["square", "pad", "anyres"])
def test_views_tell_where_pixels_land(size, aspect):
    reader = PictureReader(side=336, aspect=aspect)
    view = reader.view(size)
    assert view.then(view.inverse()) == type(view)(size, size)
    left, top, right, bottom = view.placed()
    inside = min(left, top) >= 0 and right <= view.target[0] and bottom <= view.target[1]
    assert inside or aspect == "square"
    if aspect == "square":
        assert (right - left, bottom - top) >= (336, 336)
    box = (0.25, 0.25, 0.75, 0.75)
    back = view.inverse().normalized_box(view.normalized_box(box))
    assert back == pytest.approx(box, abs=1e-12)


@pytest.mark.parametrize("aspect", ["square", "pad"])
def test_a_mark_is_seen_where_the_view_says(aspect):
    mark = (350, 100, 400, 150)
    image = Image.new("RGB", (600, 300), "black")
    image.paste("white", mark)
    reader = PictureReader(side=120, aspect=aspect)
    rows, columns = np.nonzero(reader(image).values[0, 0].numpy() > 0.5)
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert found == pytest.approx(reader.view(image.size).box(mark), abs=1.1)


def test_modes_and_tiny_pictures():
    reader = PictureReader(side=28, aspect="anyres", pinpoints=((56, 56),))
    for mode in ("L", "RGBA", "P", "1"):
        assert reader(picture(5, 9).convert(mode)).values.shape == (5, 3, 28, 28)
    assert reader(picture(1, 1)).values.isfinite().all()


def test_anyres_without_pinpoints_is_refused():
    with pytest.raises(GeometryError, match="need pinpoints"):
        best_pinpoint((10, 10), ())


def test_what_is_unpadded_covers_the_picture():
    for size in [(640, 480), (1000, 300), (3, 700)]:
        canvas = best_pinpoint(size, PINPOINTS)
        patches = tuple(24 * tiles for tiles in anyres_grid(canvas, 336))
        left, top, right, bottom = (value * 14 for value in unpadded(size, patches))
        placed = anyres_map(size, canvas).placed()
        assert left - 14 < placed[0] < left + 14
        assert top - 14 < placed[1] < top + 14
        assert right - 14 < placed[2] < right + 14
        assert bottom - 14 < placed[3] < bottom + 14
