import unicodedata
from pathlib import Path

import pytest

from grounding.errors import PromptError
from grounding.find_file import FileFinder, coco_finder, find_beside

COMPOSED = unicodedata.normalize("NFC", "füchse/löwe.png")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


def made(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("a.png", "a.png"),
        ("pics/a.png", "pics/a.png"),
        ("pics\\a.png", "pics/a.png"),
        (".\\pics\\a.png", "pics/a.png"),
        ("pics//a.png", "pics/a.png"),
        ("my%20pics/a%2Bb.png", "my pics/a+b.png"),
        ("100%.png", "100%.png"),
        ("C:\\Users\\me\\pics\\a.png", "pics/a.png"),
        ("C:/Users/me/a.png", "a.png"),
        ("/home/someone/pics/a.png", "a.png"),
        ("..\\..\\media\\upload\\4\\a.png", "a.png"),
        ("../../media/upload/4/a.png", "upload/4/a.png"),
        ("http://localhost:8080/data/upload/4/1f-a%20b.png", "4/1f-a b.png"),
        ("/data/local-files/?d=pics/a.png", "pics/a.png"),
        ("/data/local-files/?d=C%3A%5Cpics%5Ca.png", "a.png"),
        ("\\label-studio\\data\\media\\upload\\4\\a.png", "a.png"),
        (
            unicodedata.normalize("NFD", "füchse/löwe.png"),
            unicodedata.normalize("NFC", "füchse/löwe.png"),
        ),
        (
            unicodedata.normalize("NFC", "füchse/löwe.png"),
            unicodedata.normalize("NFD", "füchse/löwe.png"),
        ),
        ("pics/A.JPG", "pics/a.jpg"),
    ],
)
def test_a_name_from_elsewhere_is_found(tmp_path, name, there):
    made(tmp_path, there)
    found = find_beside(tmp_path, name)
    assert found.read_bytes() == there.encode()


def test_labelme_names_a_picture_in_the_folder_beside(tmp_path):
    made(tmp_path, "pics/a.png", "ann/a.json")
    assert find_beside(tmp_path / "ann", "..\\pics\\a.png").read_bytes() == b"pics/a.png"
    assert find_beside(tmp_path / "ann", "../pics/a.png").read_bytes() == b"pics/a.png"


def test_the_exact_name_comes_first(tmp_path):
    made(tmp_path, "a%20b.png", "a b.png", "x/a.png", "a.png")
    assert find_beside(tmp_path, "a%20b.png").name == "a%20b.png"
    assert find_beside(tmp_path, "x/a.png").read_bytes() == b"x/a.png"


def test_two_names_that_differ_in_case_are_not_confused(tmp_path):
    made(tmp_path, "a.png", "A.png")
    with pytest.raises(PromptError, match=r"'a\.PNG' may mean .*A\.png and .*a\.png"):
        find_beside(tmp_path, "a.PNG")


def test_two_folders_that_hold_what_is_meant_are_an_error(tmp_path):
    made(tmp_path, "one/a.png", "two/a.png")
    find = FileFinder([tmp_path / "one", tmp_path / "two"])
    assert find("a.png").read_bytes() == b"one/a.png"  # as it is written: the likeliest first
    with pytest.raises(PromptError, match=r"one/a\.png and .*two/a\.png"):
        find("C:\\x\\a.png")


def test_an_end_that_two_names_share_finds_neither(tmp_path):
    made(tmp_path, "a.png", "2/b.png")
    names = ["C:\\1\\a.png", "C:\\2\\a.png", "C:\\2\\b.png"]
    find = FileFinder([tmp_path], names)
    for name in names[:2]:
        with pytest.raises(PromptError, match="is in none of"):
            find(name)
    assert find(names[2]).name == "b.png"


@pytest.mark.parametrize("name", ["..%2Fsecret.png", "%2e%2e/secret.png", "x/..%5C..%5Csecret.png"])
def test_nothing_encoded_leads_out_of_the_folder(tmp_path, name):
    made(tmp_path, "secret.png", "data/b.png")
    assert not find_beside(tmp_path / "data", name).is_file()


def test_a_plain_path_is_not_shortened(tmp_path):
    made(tmp_path, "a.png")
    assert not find_beside(tmp_path, "2019/a.png").is_file()  # nor would 2020/a.png be the same


def test_what_is_missing_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(PromptError, match=r"'x\.png' is in none of .*; put it there"):
        FileFinder([tmp_path])("x.png")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000, "/", "..", "C:\\", "http://"])
def test_names_that_name_nothing_find_nothing(tmp_path, name):
    made(tmp_path, "a.png")
    assert FileFinder([tmp_path]).search(name) is None


@pytest.mark.parametrize(
    ("json", "name", "there"),
    [
        ("annotations/instances_Train.json", "Data/a.png", "images/Train/Data/a.png"),  # CVAT
        ("annotations/instances_val2017.json", "1.jpg", "val2017/1.jpg"),
        ("annotations/instances_val2017.json", "1.jpg", "images/val2017/1.jpg"),
        ("instances.json", "images\\a.png", "images/a.png"),
        ("annotations/instances.json", "images/a.png", "images/a.png"),
        ("train/_annotations.coco.json", "a.jpg", "train/a.jpg"),  # Roboflow
    ],
)
def test_the_layouts_of_label_tools_are_known(tmp_path, json, name, there):
    made(tmp_path, json, there)
    find = coco_finder(tmp_path / json, [{"file_name": name}, {}, None])
    assert find(name).read_bytes() == there.encode()
