"""Overlays: what is marked is visible, labels keep apart, nothing strange crashes."""

import cv2
import numpy as np
import pytest
from PIL import Image

from grounding.draw import PALETTE, draw_found, draw_regions
from grounding.geometry import box_intersection
from grounding.labels import label_of, place_label
from grounding.masks import bitmap_to_rle, box_to_bitmap
from grounding.prompt import GroundedPrompt, Keypoint, Point, Region, Stroke
from grounding.scale import Scale

GREY = Image.new("RGB", (512, 512), (128, 128, 128))


def draw(*regions: Region, image: Image.Image = GREY, **options) -> np.ndarray:
    return np.asarray(draw_regions(image, GroundedPrompt(regions=regions), **options)).astype(int)


def near(pixels: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(pixels - color) < 40).all(axis=-1)


@pytest.mark.parametrize("side", [64, 128, 512, 1024])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_every_size_and_mode_gives_rgb_large_enough_to_read(side: int, mode: str) -> None:
    image = Image.new(mode, (side, side * 3 // 4))
    before = image.tobytes()
    prompt = GroundedPrompt(regions=(Region(phrase="llama", box=(0.1, 0.2, 0.6, 0.9)),))
    result = draw_regions(image, prompt)
    assert result.mode == "RGB"
    assert min(result.size) >= 512
    assert result.width % side == 0
    assert result.width * 3 // 4 == result.height
    assert image.tobytes() == before


def test_boxes_are_drawn_where_they_are() -> None:
    pixels = draw(Region(box=(0.25, 0.25, 0.75, 0.75)), labels=False)
    marked = near(pixels, PALETTE[0])
    rows, columns = np.flatnonzero(marked.any(1)), np.flatnonzero(marked.any(0))
    assert (rows[0], rows[-1]) == pytest.approx((128, 383), abs=1)
    assert (columns[0], columns[-1]) == pytest.approx((128, 383), abs=1)
    assert (pixels[140:370, 140:370] == 128).all()
    assert (pixels[:120] == 128).all()


def test_regions_differ_in_color_and_z_decides_who_is_on_top() -> None:
    below = Region(box=(0.2, 0.2, 0.8, 0.8), z=0)
    above = Region(box=(0.2, 0.2, 0.8, 0.8), z=1)
    assert near(draw(below, above, labels=False), PALETTE[1]).sum() > 1000
    assert near(draw(above, below, labels=False), PALETTE[0]).sum() > 1000


def test_masks_tint_their_inside_only() -> None:
    area = (0.25, 0.25, 0.75, 0.75)
    mask = bitmap_to_rle(box_to_bitmap(area, (64, 64)))
    corners = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
    for region in (Region(mask=mask), Region(polygon=(corners,))):
        pixels = draw(region, labels=False)
        inside, outside = pixels[256, 256], pixels[256, 60]
        assert (outside == 128).all()
        assert inside[0] > 128 > inside[2]  # towards vermillion, yet see-through
        assert not near(pixels, PALETTE[0])[256, 256]


def test_points_strokes_and_landmarks_are_visible() -> None:
    for region in (
        Region(points=(Point(xy=(0.5, 0.5)), Point(xy=(0.2, 0.2), label=0))),
        Region(strokes=(Stroke(xy=((0.4, 0.5), (0.6, 0.5))), Stroke(xy=((0.2, 0.2),), label=0))),
        Region(keypoints=(Keypoint(xy=(0.5, 0.5)), Keypoint(xy=(0.2, 0.2), visibility=1))),
    ):
        pixels = draw(region, labels=False)
        assert (pixels[256, 256] != 128).any()
        assert (pixels[102, 102] != 128).any()
        assert (pixels[400, 100] == 128).all()
    person = tuple(Keypoint(xy=(0.1 + 0.05 * i, 0.1 + 0.05 * i)) for i in range(17))
    assert near(draw(Region(keypoints=person), labels=False), PALETTE[0]).sum() > 300
    hidden = tuple(joint.replace(visibility=0) for joint in person)
    assert (draw(Region(keypoints=hidden), labels=False) == 128).all()


def test_labels_are_written_and_can_be_left_out() -> None:
    region = Region(phrase="llama", box=(0.3, 0.3, 0.7, 0.7))
    plain, labelled = draw(region, labels=False), draw(region)
    changed = (plain != labelled).any(-1)
    assert changed[100:160, 150:300].sum() > 300
    assert not changed[300:].any()


@pytest.mark.parametrize(
    "phrase", ["🦙", "熊猫", "لاما", "a\nb\tc", "\u200d", "x" * 5000, "\x00\x07", "e\u0301", ""]
)
def test_any_text_can_be_a_label(phrase: str) -> None:
    region = Region(phrase=phrase, box=(0.4, 0.4, 0.6, 0.6), score=0.5)
    assert draw(region).shape == (512, 512, 3)


def test_labels_leave_out_what_the_font_lacks() -> None:
    assert label_of(Region(id="r1", phrase="a 🦙 llama", score=0.931)) == "a llama 0.93"
    assert label_of(Region(id="r1", phrase="🦙")) == "r1"
    assert label_of(Region(id="r1", phrase="crème brûlée")) == "creme brulee"


def test_chips_avoid_each_other_and_stay_on_the_canvas() -> None:
    scale = Scale.of((512, 512), 1)
    frames = [(20 + 6 * i, 200, 220 + 6 * i, 400) for i in range(5)] + [(0, 0, 511, 511)]
    placed: list[tuple[float, float, float, float]] = []
    for frame in frames:
        others = [other for other in frames if other != frame]
        placed.append(place_label(frame, (90, 26), placed, others, scale))
    for index, chip in enumerate(placed):
        assert chip[0] >= 0
        assert chip[1] >= 0
        assert chip[2] <= 512
        assert chip[3] <= 512
        assert all(box_intersection(chip, other) is None for other in placed[:index])


def test_extreme_boxes_do_not_crash() -> None:
    thin = [Region(box=(0.5, 0.0, 0.5000001, 1.0)), Region(box=(0.999999, 0.999999, 1.0, 1.0))]
    crowd = [Region(phrase=f"thing {i}", box=(0.4, 0.4, 0.6, 0.6)) for i in range(35)]
    assert draw(*thin, *crowd).shape == (512, 512, 3)
    assert draw(*thin, image=Image.new("RGB", (700, 20))).shape == (100, 3500, 3)


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((3, 300), (39, 3900)),
        ((4000, 3), (4000, 3)),
        ((5000, 20), (5000, 20)),
        ((1, 8), (512, 4096)),
        ((60, 40), (780, 520)),
    ],
)
def test_thin_pictures_are_enlarged_as_far_as_their_longer_side_allows(
    size: tuple[int, int], drawn: tuple[int, int]
) -> None:
    mask = bitmap_to_rle(np.ones((size[1], size[0]), bool))
    document = GroundedPrompt(regions=(Region(phrase="llama", mask=mask, box=(0, 0, 1, 1)),))
    for drawing in (draw_found, draw_regions):
        assert drawing(Image.new("RGB", size), document).size == drawn


def test_outlines_of_small_masks_are_round_and_no_blur_grows_with_the_picture(monkeypatch) -> None:
    blurs = []
    blur = cv2.GaussianBlur
    monkeypatch.setattr(cv2, "GaussianBlur", lambda *a: blurs.append(a[2]) or blur(*a))
    stairs = np.tri(12, dtype=bool)
    found = GroundedPrompt(regions=(Region(mask=bitmap_to_rle(stairs)),))
    pixels = np.asarray(draw_found(Image.new("RGB", (12, 12)), found, labels=False)).astype(int)
    assert max(blurs) < 5
    tinted = pixels.sum(-1) > 0
    edge = tinted[86:430].argmin(1)  # away from the corners: where each row leaves the mask
    assert np.abs(np.diff(edge)).max() <= 4  # no step of a whole enlarged pixel, which has 43


def test_what_was_found_is_tinted_and_what_was_asked_lies_on_it() -> None:
    large, small = (0.1, 0.1, 0.9, 0.9), (0.4, 0.4, 0.6, 0.6)
    masks = [bitmap_to_rle(box_to_bitmap(box, (64, 64))) for box in (small, large)]
    found = GroundedPrompt(
        regions=tuple(Region(mask=m, box=b) for m, b in zip(masks, (small, large), strict=True))
    )
    asked = Region(
        box=(0.05, 0.05, 0.95, 0.95),
        points=(Point(xy=(0.2, 0.2)), Point(xy=(0.8, 0.8), label=0)),
        strokes=(Stroke(xy=((0.2, 0.8), (0.3, 0.8))), Stroke(xy=((0.7, 0.2),), label=0)),
    )
    pixels = np.asarray(draw_found(GREY, found, [asked], labels=False)).astype(int)
    assert np.abs(pixels[256, 256] - pixels[256, 150]).sum() > 40  # the smaller mask is on top
    assert (pixels[10, 256] == 128).all()
    assert near(pixels, (46, 204, 64))[102, 102]
    assert near(pixels, (230, 40, 40))[409, 409]
    assert pixels[409, 120].argmax() == 1
    assert pixels[102, 358].argmax() == 0
    assert near(pixels, (255, 255, 255))[20:30, 256].any()
    bare = np.asarray(draw_found(GREY, found, labels=False)).astype(int)
    assert not near(bare, (255, 255, 255)).any()


def test_labels_lie_on_their_masks_but_not_on_clicks() -> None:
    box = (0.2, 0.2, 0.8, 0.8)
    region = Region(phrase="llama", box=box, mask=bitmap_to_rle(box_to_bitmap(box, (64, 64))))
    found = GroundedPrompt(regions=(region,))
    plain = np.asarray(draw_found(GREY, found, labels=False))
    labelled = np.asarray(draw_found(GREY, found))
    changed = (plain != labelled).any(-1)
    assert changed[230:282, 200:312].mean() > 0.2
    assert not changed[:150].any()
    click = Region(points=(Point(xy=(0.5, 0.5)),))
    pixels = np.asarray(draw_found(GREY, found, [click])).astype(int)
    assert near(pixels, (46, 204, 64))[254:259, 254:259].all()
