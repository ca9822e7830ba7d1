import os
import sys

import pytest
from PIL import Image

from grounding.picture_file import PICTURE_SUFFIXES
from grounding.picture_folder import list_picture_files


def test_all_kinds_are_listed_and_what_is_passed_over_is_named(tmp_path):
    for ending in PICTURE_SUFFIXES:
        (tmp_path / f"a{ending.upper()}").touch()
    for name in ("b.psd", "b.svg", "b.CR2", "notes.txt", "a.json", "._a.png", ".DS_Store"):
        (tmp_path / name).touch()
    (tmp_path / "in" / "it").mkdir(parents=True)
    (tmp_path / "in" / "it" / "c.png").touch()
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.jpg").symlink_to("nothing.jpg")
    (tmp_path / "round").symlink_to(tmp_path)
    found = list_picture_files(tmp_path)
    assert len(found.files) == len(PICTURE_SUFFIXES) + 1
    assert list(found.files) == sorted(found.files)
    assert {path.name: reason for path, reason in found.passed_over} == {
        **dict.fromkeys(("b.psd", "b.svg", "b.CR2"), "a kind of picture that is not read"),
        **dict.fromkeys(("loop.png", "gone.jpg"), "a link that leads nowhere"),
        "round": "a link to a folder, which is not followed",
    }
    assert tmp_path / "in" / "it" / "c.png" not in list_picture_files(tmp_path, deep=False).files


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="may read all")
def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "shut").mkdir(mode=0)
    [(path, reason)] = list_picture_files(tmp_path).passed_over
    assert (path.name, reason) == ("shut", "a folder that cannot be read")


@pytest.mark.parametrize("ending", [".png", ".bmp", ".gif", ".tif", ".webp", ".jp2", ".ppm"])
def test_what_is_listed_can_be_opened(tmp_path, ending):
    from grounding.picture_file import open_picture

    Image.new("RGB", (32, 32), "red").save(tmp_path / f"a{ending}")
    [file] = list_picture_files(tmp_path).files
    assert open_picture(file).getpixel((3, 3))[0] > 240
