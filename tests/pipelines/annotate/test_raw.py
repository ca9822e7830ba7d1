"""Captions of raw pictures, whoever wrote them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from grounding.errors import PromptError
from pipelines.annotate.raw import list_pictures, read_captions
from pipelines.annotate.settings import Names, behind, read_names
from tests.pipelines.annotate.stub import write_pictures


@pytest.mark.parametrize(
    ("ending", "text", "captions"),
    [
        (".txt", "a llama\n\n  a  dog \n", ("a llama", "a dog")),
        (".json", '{"caption": "a llama"}', ("a llama",)),
        (".json", '{"captions": ["a llama", "a dog"]}', ("a llama", "a dog")),
        (".json", '{"schema": "lavallama/prompt/v1", "prompt": "a llama"}', ("a llama",)),
        (".json", '{"regions": []}', ()),
        (".txt", "an <image> of a llama", ("an of a llama",)),
    ],
)
def test_captions_beside_a_picture(tmp_path, ending, text, captions):
    write_pictures(tmp_path, 1)
    (tmp_path / f"000{ending}").write_text(text)
    [raw] = list_pictures(tmp_path)
    assert raw.captions == captions
    assert raw.problem is None


@pytest.mark.parametrize("text", ["{", "[]", '{"captions": [1]}', ""])
def test_captions_that_cannot_be_read_are_said_so(tmp_path, text):
    write_pictures(tmp_path, 1)
    (tmp_path / "000.json").write_text(text)
    [raw] = list_pictures(tmp_path)
    assert raw.captions == ()
    assert raw.problem


def test_a_file_of_captions(tmp_path):
    path = tmp_path / "captions.json"
    path.write_text('{"a.png": "a llama", "b/c.png": ["two dogs", "dogs"]}')
    assert read_captions(path) == {"a.png": ("a llama",), "b/c.png": ("two dogs", "dogs")}
    images = [{"id": 7, "file_name": "a.png"}]
    said = [{"id": n, "image_id": 7, "caption": text} for n, text in enumerate(("one", "two"))]
    path.write_text(json.dumps({"images": images, "annotations": said}))
    assert read_captions(path) == {"a.png": ("one", "two")}
    said[0]["image_id"] = 8
    path.write_text(json.dumps({"images": images, "annotations": said}))
    with pytest.raises(PromptError, match=r"annotations\[0\].image_id: there is no such image"):
        read_captions(path)


def test_captions_find_their_pictures_whoever_named_them(tmp_path, caplog):
    (tmp_path / "day").mkdir()
    for name in ("a.png", "day/u\u0308.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    said = {"C:\\pics\\A.png": ("one",), "day\\\u00fc.png": ("two",), "none.png": ("three",)}
    assert [raw.captions for raw in list_pictures(tmp_path, said)] == [("one",), ("two",)]
    assert "captions of 1 files" in caplog.text
    assert "none.png" in caplog.text


def test_shards_share_pictures_out(tmp_path):
    write_pictures(tmp_path, 30)
    raws = list_pictures(tmp_path)
    parts = [[raw.name for raw in raws if raw.is_in((index, 4))] for index in range(4)]
    assert sorted(sum(parts, [])) == [raw.name for raw in raws]


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("names.txt", "llama\n\nhot dog\nllama\n", Names(things=("llama", "hot dog"))),
        (
            "names.json",
            '{"things": ["llama"], "stuff": {"beach": "on a beach"}, "attributes": ["lava"]}',
            Names(things=("llama",), stuff=(("beach", "on a beach"),), attributes=("lava",)),
        ),
        (
            "names.json",
            '{"things": ["llama"], "stuff": ["sky"]}',
            Names(things=("llama",), stuff=(("sky", behind("sky")),)),
        ),
    ],
)
def test_a_vocabulary_is_read(tmp_path: Path, name, text, names):
    (tmp_path / name).write_text(text)
    assert read_names(tmp_path / name) == names


@pytest.mark.parametrize("text", ["{}", '{"things": "llama"}', '{"things": ["a"], "nouns": []}'])
def test_a_spoilt_vocabulary_is_one_line(tmp_path: Path, text):
    (tmp_path / "names.json").write_text(text)
    with pytest.raises(PromptError, match=r"names.json: "):
        read_names(tmp_path / "names.json")


def test_what_is_passed_over_is_named(tmp_path):
    write_pictures(tmp_path, 1)
    Image.new("RGB", (8, 8)).save(tmp_path / "b.bmp")
    (tmp_path / "c.png").symlink_to("c.png")
    (tmp_path / "d.svg").touch()
    raws = list_pictures(tmp_path, without=tmp_path / "out")
    assert {raw.name: raw.refused for raw in raws} == {
        "000.png": None,
        "b.bmp": None,
        "c.png": "a link that leads nowhere",
        "d.svg": "a kind of picture that is not read",
    }
