"""Data sets in all their forms, and what is wrong with them."""

import base64
import gc
import io
import json
import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from gligen.train.scenes import Record, Scenes
from grounding.drops import Dropped, Drops
from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt, Region
from grounding.stickers.scene import render
from grounding.stickers.world import PRESETS
from pipelines.training.sources import open_source
from tests.pipelines.training.gligen.coco_folder import write_coco

BOX = [0.25, 0.25, 0.75, 0.75]
DOCUMENT = {"prompt": "a dog", "regions": [{"phrase": "dog", "box": BOX}]}
LABELME = {
    "shapes": [
        {"label": "dog", "points": [[10, 10], [30, 30]], "shape_type": "rectangle"},
    ],
    "imageWidth": 40,
    "imageHeight": 40,
    "imagePath": "b.png",
}


def png(size=(40, 40)):
    file = io.BytesIO()
    Image.new("RGB", size, "brown").save(file, "PNG")
    return file.getvalue()


def found(data, tmp_path, **options):
    return list(open_source(str(data), folder=tmp_path / "scenes", **options))


def boxes(one):
    return [region.box for region in one.document().regions]


def test_a_folder_of_pictures_with_documents(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("a.png", "b.png", "deep/c.png"):
        (tmp_path / name).write_bytes(png())
    (tmp_path / "a.json").write_text(json.dumps(DOCUMENT))
    (tmp_path / "b.json").write_text(json.dumps(LABELME))
    a, b, c = found(tmp_path, tmp_path)
    assert [a.name, b.name, c.name] == ["a.png", "b.png", "deep/c.png"]
    assert boxes(a) == [tuple(BOX)]
    assert boxes(b) == [tuple(BOX)]
    assert a.read() == png()
    with pytest.raises(Dropped, match="no document"):
        c.document()


def test_documents_are_found_however_their_names_are_composed(tmp_path):
    composed, apart = "\u00fc \U0001f999", "u\u0308 \U0001f999"  # a u with dots, and a llama
    for name in (composed, "B", "b"):
        Image.new("RGB", (20, 10)).save(tmp_path / f"{name}.png")
    for name in (apart, "B"):
        (tmp_path / f"{name}.json").write_text('{"cat": [0, 0, 0.5, 0.5]}')
    found = {one.name: one for one in open_source(str(tmp_path), folder=tmp_path)}
    assert found[f"{composed}.png"].document().regions
    assert found["B.png"].document().regions
    with pytest.raises(Dropped, match="no document"):
        found["b.png"].document()


def test_labelme_may_hold_its_picture_and_what_has_none_is_named(tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (40, 40), "teal").save(picture, "PNG")
    whole = LABELME | {"imageData": base64.b64encode(picture.getvalue()).decode()}
    for name, content in (
        ("held", whole),
        ("spoilt", whole | {"imageData": "*"}),
        ("none", LABELME),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "info.json").write_text('{"license": "mine"}')
    held, none, spoilt = open_source(str(tmp_path), folder=tmp_path)
    assert held.read() == picture.getvalue()
    assert held.document().regions[0].box == (0.25, 0.25, 0.75, 0.75)
    with pytest.raises(Dropped, match="without a picture"):
        none.document()
    with pytest.raises(PromptError, match="is empty"):
        spoilt.document()


def test_several_documents_on_a_line_are_told(tmp_path):
    path = tmp_path / "array.jsonl"
    path.write_text(json.dumps([{**DOCUMENT, "image": "a.png"}] * 2))
    [found] = open_source(str(path), folder=tmp_path)
    with pytest.raises(Dropped, match="several documents on a line"):
        found.document()


def test_json_lines(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    lines = [{"image": "a.png", **DOCUMENT}, {"image": "gone.png", **DOCUMENT}, DOCUMENT]
    text = "\n".join([*map(json.dumps, lines), "{broken", ""])
    (tmp_path / "mine.jsonl").write_text(text)
    a, gone, nameless, broken = found(tmp_path / "mine.jsonl", tmp_path)
    assert boxes(a) == [tuple(BOX)]
    assert a.read() == png()
    with pytest.raises(FileNotFoundError):
        gone.read()
    with pytest.raises(Dropped, match="names no image"):
        nameless.read()
    with pytest.raises(Dropped, match="is not valid JSON: expecting property name"):
        broken.read()
    assert [one.name for one in (a, broken)] == ["line 1", "line 4"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_shards(tmp_path):
    """Webdataset leaves it to Python to close its files."""
    pytest.importorskip("webdataset")
    members = {
        "a.png": png(),
        "a.json": json.dumps(DOCUMENT).encode(),
        "b.png": png(),
        "c.json": json.dumps(DOCUMENT).encode(),
        "d.png": png(),
        "d.json": b"{cut off",
    }
    for shard, names in enumerate((("a.png", "a.json"), ("b.png", "c.json", "d.png", "d.json"))):
        with tarfile.open(tmp_path / f"mine-{shard}.tar", "w") as tar:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(members[name])
                tar.addfile(info, io.BytesIO(members[name]))
    a, b, c, d = found(tmp_path / "mine-{0..1}.tar", tmp_path)
    with pytest.raises(ValueError, match="expecting"):
        d.document()
    assert boxes(a) == [tuple(BOX)]
    assert a.read() == png()
    with pytest.raises(Dropped, match="no document"):
        b.document()
    with pytest.raises(Dropped, match="no picture beside"):
        c.read()
    with pytest.raises(ValueError, match="no such shard"):
        found(tmp_path / "other-{0..1}.tar", tmp_path)
    (tmp_path / "cut.tar").write_bytes((tmp_path / "mine-0.tar").read_bytes()[:700])
    with pytest.raises(ValueError, match="no whole tar file"):
        found(tmp_path / "cut.tar", tmp_path)
    gc.collect()


def test_coco_with_captions(tmp_path):
    path = write_coco(tmp_path / "coco", 3)
    data = json.loads(path.read_text())
    crowd = {"id": 90, "image_id": 0, "category_id": 1, "bbox": [0, 0, 60, 60], "iscrowd": 1}
    flat = {"id": 91, "image_id": 0, "category_id": 1, "bbox": [5, 5, 0, 60]}
    strange = {"id": 92, "image_id": 0, "category_id": 77, "bbox": [5, 5, 9, 60]}
    regions = sum(one["image_id"] == 0 for one in data["annotations"])
    data["annotations"] += [crowd, flat, strange]
    path.write_text(json.dumps(data))
    captions = path.with_name("captions_stickers.json")
    first, *others = found(path, tmp_path, captions=captions)
    said = json.loads(captions.read_text())["annotations"][0]["caption"]
    document = first.document()
    assert document.prompt == said
    assert len(document.regions) == regions
    assert [reason for reason, _ in first.remarks.lost] == [
        "a crowd",
        "an annotation that makes no sense",
        "a category that the file does not name",
    ]
    assert len(others) == 2
    without = found(path, tmp_path)[0].document()
    assert without.prompt == ", ".join(dict.fromkeys(r.phrase for r in without.regions))
    with Image.open(io.BytesIO(first.read())) as image:
        assert image.size == (128, 128)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("gone", "no such file or folder"),
        ("empty", "expected pictures"),
        ("odd.csv", "expected 'stickers', a COCO .json"),
        ("list.json", "expected an object"),
        ("half.json", "images: is missing"),
    ],
)
def test_what_is_no_data_set_is_one_line(data, words, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd.csv").write_text("a,b")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "half.json").write_text("{}")
    with pytest.raises(ValueError, match=words):
        found(tmp_path / data, tmp_path)


def test_captions_belong_to_coco(tmp_path):
    with pytest.raises(ValueError, match="--captions belongs to"):
        found("stickers", tmp_path, captions=tmp_path / "captions.json")


def test_the_document_format_is_the_shared_one():
    assert GroundedPrompt.model_validate(DOCUMENT).regions[0] == Region(
        id="r1", phrase="dog", box=(0.25, 0.25, 0.75, 0.75)
    )


def test_the_sticker_world(tmp_path, monkeypatch):
    world = PRESETS["small"]
    scenes = [world.scene(seed, "train") for seed in range(2)]
    drawn = Scenes(
        np.stack([render(scene).image for scene in scenes]),
        [
            Record(
                caption=scene.caption,
                background=scene.background,
                concepts=tuple(s.concept for s in scene.stickers),
                materials=tuple(s.material for s in scene.stickers),
                boxes=tuple(s.box for s in scene.stickers),
            )
            for scene in scenes
        ],
    )
    monkeypatch.setattr("gligen.train.scenes.rendered", lambda *_: drawn)
    first, second = found("stickers", tmp_path, scenes=2)
    assert first.document().prompt == scenes[0].caption
    assert [r.phrase for r in second.document().regions] == [s.phrase for s in scenes[1].stickers]
    with Image.open(io.BytesIO(second.read())) as image:
        assert np.array_equal(np.asarray(image), drawn.images[1])


def test_pictures_of_all_kinds_are_read_and_what_is_passed_over_is_named(tmp_path):
    for name in ("a.bmp", "b.gif", "c.tif"):
        Image.new("RGB", (40, 40), "brown").save(tmp_path / name)
        (tmp_path / name).with_suffix(".json").write_text(json.dumps(DOCUMENT))
    (tmp_path / "d.psd").touch()
    (tmp_path / "e.png").symlink_to("e.png")
    *lost, a, b, c = found(tmp_path, tmp_path)
    assert [boxes(one) for one in (a, b, c)] == [[tuple(BOX)]] * 3
    assert [one.name for one in lost] == ["d.psd", "e.png"]
    for one, reason in zip(lost, ("not read", "leads nowhere"), strict=True):
        with pytest.raises(Dropped, match=reason):
            one.read()


def shard(path, *names):
    with tarfile.open(path, "w") as tar:
        for name in names:
            data = json.dumps(DOCUMENT).encode() if name.endswith("json") else png()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_names_in_shards_may_have_dots(tmp_path):
    pytest.importorskip("webdataset")
    stems = ("2024.05.01_a", "2024.05.02_b", "in/2024.05.03_c", "plain")
    files = [f"{stem}{end}" for stem in stems for end in (".jpg", ".json")]
    samples = found(shard(tmp_path / "a.tar", *files), tmp_path)
    assert [one.name for one in samples] == list(stems)
    assert all(boxes(one) == [tuple(BOX)] and one.read() == png() for one in samples)
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_lies_beside_a_sample_belongs_to_it(tmp_path):
    pytest.importorskip("webdataset")
    path = shard(tmp_path / "a.tar", "7.jpg", "7.seg.png", "7.json", "8.json")
    seven, eight = found(path, tmp_path)
    assert (seven.name, eight.name) == ("7", "8")
    assert seven.read() == png()
    with pytest.raises(Dropped, match="no picture beside the document"):
        eight.read()
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_two_files_of_one_name_in_a_shard_are_one_line(tmp_path):
    pytest.importorskip("webdataset")
    with pytest.raises(PromptError, match=r"a\.tar: .*duplicate file name"):
        found(shard(tmp_path / "a.tar", "7.jpg", "7.jpg"), tmp_path)
    gc.collect()


def test_names_that_were_written_elsewhere_are_found(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(png())
    image = {"id": 1, "file_name": "images\\a.png", "width": 40, "height": 40}
    (tmp_path / "instances.json").write_text(
        json.dumps(
            {
                "images": [image, {**image, "id": 2, "file_name": "images\\b.png"}],
                "annotations": [],
                "categories": [],
            }
        )
    )
    a, b = found(tmp_path / "instances.json", tmp_path)
    assert a.read() == png()
    with pytest.raises(Dropped) as dropped:
        b.read()
    assert f"is in none of {tmp_path / 'images'}" in dropped.value.detail


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (LABELME, "its picture (b.png) does not lie beside it"),
        (DOCUMENT, "its picture (mine.png) does not lie beside it"),
        ([{"image_id": 1, "category_id": 1}], "is a results file of COCO"),
        ({"annotations": [{"segments_info": []}]}, "is COCO panoptic segments"),
        ({"annotations": [{"caption": "a"}]}, "captions go to --captions"),
    ],
)
def test_a_file_of_another_kind_is_called_by_its_name(content, words, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=re.escape(words)):
        found(path, tmp_path)


def test_a_document_alone_is_one_picture(tmp_path):
    (tmp_path / "b.png").write_bytes(png())
    held = LABELME | {"imageData": base64.b64encode(png()).decode()}
    for name, content in (("b", DOCUMENT), ("other", LABELME), ("held", held)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content))
        [one] = found(path, tmp_path)
        assert one.read() == png()
        assert boxes(one) == [tuple(BOX)]


def test_outlines_are_read_where_they_are_wanted(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    ring = [0, 0, 20, 0, 20, 10]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [ring]},
        {"id": 2, "image_id": 1, "category_id": 1, "iscrowd": 1, "segmentation": [ring]},
    ]
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 40}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": annotations,
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(data))
    [plain] = found(path, tmp_path)
    [region] = plain.document().regions
    assert not region.polygon
    [outlined] = found(path, tmp_path, outlines=True)
    one, crowd = outlined.document().regions
    assert one.polygon == (((0, 0), (0.5, 0), (0.5, 0.25)),)
    assert crowd.attributes == {"iscrowd": 1}


def test_sizes_are_those_of_the_pictures_where_the_file_has_none(tmp_path):
    (tmp_path / "a.png").write_bytes(png((40, 20)))
    annotations = [
        {"id": 1, "image_id": "1", "category_id": 1, "bbox": [-1, 5, 21, 10], "attributes": None},
        {"id": 2, "image_id": 1, "category_id": "1", "segmentation": [[0, 0, 20, 0, 20, 10]]},
        {"id": 3, "image_id": 2, "category_id": 1, "bbox": [1, 1, 5, 5]},
    ]
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": None, "height": None}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": annotations,
    }
    path, drops = tmp_path / "instances.json", Drops()
    path.write_text(json.dumps(data))
    [one] = found(path, tmp_path, drops=drops)
    assert boxes(one) == [(0, 0.25, 0.5, 0.75), (0, 0, 0.5, 0.5)]
    assert [reason for reason, _ in one.remarks.changed] == ["a box clipped to its picture"]
    assert drops.lost_regions == {"an annotation of an image that the file does not list": 1}


def test_lines_and_shapes_cost_themselves(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    stray = {"label": "cat", "points": [[1, 1], [2, 2]], "shape_type": "polygon"}
    (tmp_path / "a.json").write_text(json.dumps(LABELME | {"shapes": [*LABELME["shapes"], stray]}))
    [one] = found(tmp_path, tmp_path)
    assert boxes(one) == [tuple(BOX)]
    assert len(one.remarks.lost) == 1
    line = {"image": "a.png", "regions": [{"phrase": "dog", "box": BOX}, {"box": [0, 0, 2, 1]}]}
    (tmp_path / "mine.jsonl").write_text(json.dumps(line))
    [one] = found(tmp_path / "mine.jsonl", tmp_path)
    assert boxes(one) == [tuple(BOX)]
    assert len(one.remarks.lost) == 1
