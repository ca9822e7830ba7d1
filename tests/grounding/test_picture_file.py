import io
import logging
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

import grounding
from grounding import picture_file
from grounding.errors import PromptError
from grounding.picture_file import (
    as_seen,
    changes_as_seen,
    check_jpeg_scans,
    is_turned,
    open_picture,
    open_upright,
    read_picture_size,
)

UPRIGHT = np.zeros((6, 10, 3), np.uint8)
UPRIGHT[:2, :3] = (255, 0, 0)
UPRIGHT[:, 8:] = (0, 200, 30)
# How the pixels are stored for each orientation of EXIF, so that people see UPRIGHT.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: UPRIGHT[:, ::-1].transpose(1, 0, 2),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: UPRIGHT[::-1].transpose(1, 0, 2),
}


def saved(image: Image.Image, kind: str = "PNG", **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def pixels(file) -> np.ndarray:
    return np.asarray(open_picture(file))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_picture_is_turned_as_its_exif_says_whatever_its_kind(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    file = saved(stored, kind, exif=exif, **options.get(kind, {}))
    seen = pixels(file)
    assert np.abs(seen.astype(int) - UPRIGHT).max() <= (60 if kind == "JPEG" else 0)
    assert read_picture_size(io.BytesIO(file.getvalue())) == (10, 6)
    assert is_turned(io.BytesIO(file.getvalue())) == (orientation != 1)
    assert as_seen(open_picture(io.BytesIO(file.getvalue()))).size == (10, 6)  # not twice


def test_an_open_picture_of_pillow_is_turned_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(saved(Image.fromarray(STORED[6].copy()), exif=exif)) as image:
        assert np.array_equal(np.asarray(as_seen(image)), UPRIGHT)


def test_broken_exif_is_no_reason_to_refuse_a_picture():
    file = saved(Image.fromarray(UPRIGHT), exif=b"Exif\0\0nonsense")
    assert np.array_equal(pixels(file), UPRIGHT)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_on_white(mode):
    image = Image.new("RGBA", (4, 4), (9, 9, 9, 0)).convert(mode)
    if mode == "P":
        image = Image.new("P", (4, 4), 0)
        image.info["transparency"] = 0
    assert (pixels(saved(image)) == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_over_their_full_range(kind):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    if kind == "PPM":  # which old versions of Pillow read and do not write
        file = io.BytesIO(b"P5 4 1 65535 " + values.astype(">u2").tobytes())
    else:
        file = saved(Image.fromarray(values), kind)
    assert pixels(file)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_the_hole_of_a_sixteen_bit_picture_is_white():
    image = Image.fromarray(np.array([[300, 0]], np.uint16))
    assert pixels(saved(image, transparency=300))[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_thirty_two_bits_are_refused(dtype):
    file = saved(Image.fromarray(np.full((2, 2), 0.5, dtype)), "TIFF")
    with pytest.raises(PromptError, match="32 bits a pixel.*scale it to 8 or 16 bits"):
        open_picture(file)


def test_stored_numbers_are_kept_where_they_count():
    values = np.array([[0, 300, 65535]], np.uint16)
    assert np.asarray(open_upright(saved(Image.fromarray(values)))).tolist() == values.tolist()
    palette = Image.fromarray(np.array([[0, 2]], np.uint8)).convert("P")
    assert np.asarray(open_upright(saved(palette))).tolist() == [[0, 2]]


def swapped_profile() -> bytes:
    """sRGB with red and blue in each other's place, by its tags."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132], "big")
    places = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, blue = places[b"rXYZ"], places[b"bXYZ"]
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_profiles_other_than_srgb_are_converted(mode):
    red = Image.new("RGB", (2, 2), (250, 5, 5)).convert(mode)
    seen = pixels(saved(red, icc_profile=swapped_profile()))[0, 0]
    assert np.abs(seen.astype(int) - (5, 5, 250)).max() <= 3


def test_srgb_by_whatever_name_keeps_each_bit():
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(pixels(saved(Image.fromarray(noise), icc_profile=profile)), noise)


@pytest.mark.parametrize("profile", [b"nonsense", b"\0" * 200])
def test_a_broken_profile_is_left_aside_with_a_warning(profile, caplog, tmp_path):
    path = tmp_path / f"{len(profile)}.png"
    path.write_bytes(saved(Image.fromarray(UPRIGHT), icc_profile=profile).getvalue())
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(pixels(path), UPRIGHT)
    assert "profile is left aside" in caplog.text


def test_cmyk_becomes_rgb():
    seen = pixels(saved(Image.new("CMYK", (2, 2), (255, 0, 0, 0)), "JPEG"))[0, 0]
    assert seen[0] < 20
    assert seen[1] > 200


def test_lab_becomes_rgb():
    """As Photoshop writes it; pure red is L 54.3, a 81, b 70 (CIE 1976, for D50)."""
    lab = Image.new("LAB", (4, 3), (round(54.3 * 2.55), 128 + 81, 128 + 70))
    red, green, blue = open_picture(saved(lab, "TIFF")).getpixel((1, 1))
    assert red > 245
    assert max(green, blue) < 25


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_pictures_the_first_is_taken_and_said(kind, caplog, tmp_path):
    pages = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    path = tmp_path / f"a.{kind}"
    pages[0].save(path, kind, save_all=True, append_images=pages[1:])
    with caplog.at_level(logging.WARNING):
        assert pixels(path)[0, 0, 0] > 200
    assert "holds several pictures; the first is taken" in caplog.text


def refinements(count: int) -> bytes:
    """A progressive JPEG whose last scan is written again and again."""
    data = saved(Image.fromarray(UPRIGHT), "JPEG", progressive=True).getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def test_a_jpeg_of_too_many_scans_is_refused_before_it_is_decoded(monkeypatch):
    check_jpeg_scans(refinements(400))
    hostile = refinements(600)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    for door in (open_picture, open_upright, read_picture_size):
        with pytest.raises(PromptError, match="more than 500 scans"):
            door(io.BytesIO(hostile))


def test_what_follows_a_jpeg_counts_as_no_scans_nor_do_its_segments():
    plain = saved(Image.fromarray(UPRIGHT), "JPEG", comment=b"\xff\xda" * 600).getvalue()
    check_jpeg_scans(plain + b"\xff\xda" * 600)  # as a phone's film behind its picture
    assert open_picture(io.BytesIO(plain)).size == (10, 6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"text"), "is not a whole picture"),
        (lambda path: path.write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 99), "pillow-heif"),
        (lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "is not a whole picture"),
    ],
)
def test_what_cannot_be_opened_is_one_line_that_names_it(make, said, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    path = tmp_path / "a.png"
    make(path)
    with pytest.raises(PromptError, match=f"a.png: .*{said}") as caught:
        open_picture(path)
    assert "\n" not in str(caught.value)


def test_a_cut_off_picture_is_refused():
    whole = saved(Image.fromarray(np.random.default_rng(0).integers(0, 9, (64, 64, 3), np.uint8)))
    with pytest.raises(PromptError, match="is not a whole picture"):
        open_picture(io.BytesIO(whole.getvalue()[:-200]))


def test_pixels_can_be_limited_before_they_are_decoded():
    with pytest.raises(PromptError, match="more than 59 pixels"):
        open_upright(saved(Image.fromarray(UPRIGHT)), most_pixels=59)


def test_a_picture_does_not_depend_on_its_file(tmp_path):
    path = tmp_path / "a.gif"
    Image.fromarray(UPRIGHT).save(path)
    image = open_upright(path)
    path.unlink()
    assert image.convert("RGB").size == (10, 6)


def test_no_package_opens_pictures_by_another_door():
    root = Path(grounding.__file__).parents[1]
    opening = re.compile(r"Image\.open\(|cv2\.imread|imageio|read_image\(str|torchvision\.io")
    for package in ("grounding", "gligen", "seem", "weights", "pipelines"):
        for path in (root / package).rglob("*.py"):
            if path != Path(picture_file.__file__):
                assert not opening.search(path.read_text("utf-8")), f"{path}: use open_picture"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such files here")
def test_a_pipe_is_read_if_somebody_writes_to_it(tmp_path):
    path, data = tmp_path / "pipe.png", io.BytesIO()
    os.mkfifo(path)
    with pytest.raises(PromptError, match="is a pipe that nobody writes to"):
        open_picture(path)
    Image.new("RGB", (300, 200), "teal").save(data, "BMP")  # more than a pipe holds
    writer = threading.Thread(target=lambda: path.write_bytes(data.getvalue()))
    keeper = os.open(path, os.O_RDWR)  # so that the writer has been there before the reader comes
    writer.start()
    reader = os.open(path, os.O_RDONLY)
    closer = threading.Thread(target=lambda: (writer.join(), os.close(keeper)))
    closer.start()
    try:
        assert open_picture(path).size == (300, 200)
    finally:
        os.close(reader)
        closer.join()


@pytest.mark.parametrize(
    ("image", "options", "said"),
    [
        (Image.new("RGB", (2, 2)), {}, None),
        (Image.new("RGB", (2, 2)), {"icc_profile": b"nonsense"}, None),
        (Image.new("RGB", (2, 2)), {"icc_profile": "sRGB"}, None),
        (Image.new("RGBA", (2, 2), (1, 2, 3, 255)), {}, None),
        (Image.new("RGBA", (2, 2), (1, 2, 3, 254)), {}, "transparency is laid on white"),
        (Image.new("RGB", (2, 2)), {"icc_profile": "swapped"}, "colours are converted"),
        (Image.fromarray(np.zeros((2, 2), np.uint16)), {}, "16 bits are scaled to 8"),
        (Image.new("LAB", (2, 2)), {"kind": "TIFF"}, "LAB is converted to sRGB"),
    ],
)
def test_what_is_changed_of_a_picture_is_told(image, options, said):
    profiles = {
        "sRGB": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "swapped": swapped_profile(),
    }
    options = {key: profiles.get(value, value) for key, value in options.items()}
    told = changes_as_seen(saved(image, **options))
    assert len(told) == (said is not None)
    assert all(one.startswith(said) for one in told)
