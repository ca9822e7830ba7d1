"""Foreign formats: recognised by content, units, one-line errors."""

import json

import pytest
from PIL import Image

from grounding import formats
from grounding.errors import PromptError
from grounding.prompt import Canvas, Reference

BOX = (0.1, 0.2, 0.5, 0.6)
SIZE = (640, 480)

RECOGNISED = {
    "document": {"regions": [{"phrase": "llama", "box": BOX}]},
    "list": [{"phrase": "llama", "box": BOX}],
    "mapping": {"llama": BOX},
    "mapping of lists": {"llama": [BOX]},
    "gligen": {"phrases": ["llama"], "locations": [BOX], "prompt": ""},
    "diffusers": {"gligen_phrases": ["llama"], "gligen_boxes": [BOX]},
    "coco": {
        "images": [{"id": 1, "width": 100, "height": 100}],
        "annotations": [{"image_id": 1, "category_id": 3, "bbox": [10, 20, 40, 40]}],
        "categories": [{"id": 3, "name": "llama"}],
    },
    "labelme": {
        "shapes": [{"label": "llama", "points": [[50, 60], [10, 20]], "shape_type": "rectangle"}],
        "imageWidth": 100,
        "imageHeight": 100,
    },
    "lgd": {"gen_boxes": [["llama", [51.2, 102.4, 204.8, 204.8]]]},
}


@pytest.mark.parametrize("name", RECOGNISED)
def test_every_format_is_recognised_by_content(name: str, tmp_path) -> None:
    path = tmp_path / "whatever.txt"
    path.write_text(json.dumps(RECOGNISED[name]))
    for source in (RECOGNISED[name], path, str(path), json.dumps(RECOGNISED[name])):
        (region,) = formats.load(source).regions
        assert region.phrase == "llama"
        assert region.box == pytest.approx(BOX)


def test_model_text_is_recognised_and_parsed() -> None:
    prompt = formats.load(
        "Caption: a field\n"
        "Objects: [('a \\'red\\' llama', [0, 256, 256, 128]), (\"it's\", (0, 0, 512, 512)),]\n"
        "Background prompt: A realistic field\nNegative prompt: None\n"
    )
    assert [region.phrase for region in prompt.regions] == ["a 'red' llama", "it's"]
    assert prompt.regions[0].box == (0, 0.5, 0.5, 0.75)
    assert (prompt.prompt, prompt.background, prompt.negative_prompt) == (
        "a field",
        "A realistic field",
        "",
    )
    assert formats.load("[('a llama', [0, 0, 512, 512])]").regions[0].phrase == "a llama"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[('a', [1, 2, 3])]", r"objects\[0\]: expected 4 numbers"),
        ("[('a', [1, 2, 3, x])]", 'expected a number, got "x"'),
        ("[('a', [1, 2, 3, nan])]", 'expected a number, got "nan"'),
        ("[('a', [1, 2, 3, 1e999])]", "finite"),
        ("[('a', [1, 2, 3, 4])", "not closed"),
        ("[('a', __import__('os'))]", "expected a comma and"),
        ("[('a', [1, 2, 3, 4]) ('b', [1, 2, 3, 4])]", "a comma or ]"),
        ("[('a', [1, 2, 600, 4])]", "leaves the canvas of 512x512"),
        ("[('a', [1, 2, -3, 4])]", "width must be above 0, got -3"),
        ("Objects: none\n", "expected \\[\\('phrase'"),
        ("[('" + "(" * 5000, "a phrase in quotes"),
    ],
)
def test_bad_model_text_gives_one_line(text: str, message: str) -> None:
    with pytest.raises(PromptError, match=message) as caught:
        formats.load(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("box", "canvas", "units", "expected"),
    [
        ([0.1, 0.2, 0.5, 0.6], None, "auto", BOX),
        ([0.1, 0.2, 0.5, 0.6], SIZE, "auto", BOX),
        ([0, 0, 1, 1], SIZE, "auto", (0, 0, 1, 1)),
        ([0, 0, 1, 1], (2, 2), "pixel", (0, 0, 0.5, 0.5)),
        ([64, 96, 320, 288], SIZE, "auto", BOX),
        ([64, 96, 320, 288], SIZE, "pixel", BOX),
        ([0, 0, 2.5, 100.5], (100, 201), "auto", (0, 0, 0.025, 0.5)),
        ([0.5, 0, 1.5, 2], (2, 2), "pixel", (0.25, 0, 0.75, 1)),
        ([0, 0, 1 + 1e-9, 1], None, "normalized", (0, 0, 1, 1)),
        ([0, 0, 100.005, 100], (100, 100), "pixel", (0, 0, 1, 1)),
    ],
)
def test_units_are_declared_or_recognised(box, canvas, units, expected) -> None:
    prompt = formats.load({"a": box}, canvas=canvas, units=units)
    assert prompt.regions[0].box == pytest.approx(expected)
    assert prompt.canvas == (Canvas(width=canvas[0], height=canvas[1]) if canvas else None)


@pytest.mark.parametrize(
    ("boxes", "canvas", "units", "message"),
    [
        ([[0.1, 0.2, 1.5, 0.9]], None, "auto", "could be pixels or .*--units pixel or --units n"),
        ([[0.1, 0.2, 1.5, 0.9]], SIZE, "auto", "could be pixels or"),
        ([[0, 0, 1, 2]], SIZE, "auto", "could be pixels or"),
        ([[0.1, 0.2, 300, 400]], SIZE, "auto", "could be pixels or"),
        ([[0, 0, 1, 1], [10, 10, 20, 20]], SIZE, "auto", "use one unit"),
        ([[10, 20, 30, 40]], None, "auto", "pixels need the size of their canvas"),
        ([[10, 20, 30, 40]], None, "pixel", "pixels need the size of their canvas"),
        ([[10, 20, 700, 40]], SIZE, "auto", "leaves the canvas of 640x480 pixels"),
        ([[-10, 20, 70, 40]], SIZE, "auto", "leaves the canvas of 640x480 pixels"),
        ([[10, 20, 30, 40]], None, "normalized", "leaves the canvas, 0 to 1; .* --units pixel"),
        ([[-0.1, 0.2, 0.5, 0.6]], None, "auto", "leaves the canvas, 0 to 1"),
        ([[0.6, 0.2, 0.1, 0.6]], None, "auto", "x0 must be below x1, got 0.6 and 0.1; swap"),
        ([[60, 20, 10, 60]], SIZE, "auto", "x0 must be below x1, got 60 and 10; swap"),
        ([BOX], None, "furlongs", "units: expected auto, normalized or pixel"),
    ],
)
def test_ambiguity_is_an_error_that_names_entry_and_cure(boxes, canvas, units, message) -> None:
    with pytest.raises(PromptError, match=message) as caught:
        formats.load({"llama": boxes}, canvas=canvas, units=units)
    assert "llama" in str(caught.value) or units == "furlongs"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([{"phrase": "a"}], r"^\[0\]\.box: is missing"),
        ([{"box": BOX}], r"^\[0\]\.phrase: is missing"),
        ([{"phrase": 1, "box": BOX}], r"^\[0\]\.phrase: expected text in quotes, got 1"),
        ([{"phrase": "a", "box": [0, 0, 1]}], r"^\[0\]\.box: expected 4 numbers, got \[0, 0, 1\]"),
        ([{"phrase": "a", "box": [0, 0, "x", 1]}], r"^\[0\]\.box\[2\]: expected a number"),
        ([{"phrase": "a", "box": [0, 0, True, 1]}], r"^\[0\]\.box\[2\]: expected a number"),
        ([{"phrase": "a", "box": [0, float("nan"), 1, 1]}], r"^\[0\]\.box\[1\]: .*NaN"),
        ([{"phrase": "a", "box": [0, 0, 10**400, 1]}], "a huge whole number"),
        ([{"phrase": "a", "bbox": BOX}], r'^\[0\]\.bbox: unknown field; name it "box"'),
        ([{"phrase": "a", "box": BOX, "scor": 1}], r'^\[0\]\.scor: .* did you mean "score"'),
        ([{"phrase": "a", "box": BOX, "points": []}], "holds boxes only"),
        ([["a", [1, 2, 3, 4]]], "does not say whether its boxes are xyxy or xywh"),
        ([5], r"^\[0\]: expected an object"),
        ({"a": "b"}, '^"a": expected a list, got "b"'),
        ({"a": [BOX, [0, 0]]}, r'^"a"\[1\]: expected 4 numbers'),
        ({"phrases": ["a"], "locations": []}, "^phrases: has 1 entries, but there are 0 boxes"),
        ({"phrases": ["a"], "locations": [[0, 0, 64, 64]]}, r"^locations\[0\]: .*--units pixel"),
        ({"prompt": "x", "locations": [[[0, 0]] * 3]}, r"^locations\[0\]: .*17 joints"),
        ({"gligen_boxes": [], "gligen_scheduled_sampling_beta": 3}, "a fraction from 0 to 1"),
        ({"prompt": "x", "regions": [{"box": [0, 0, 1, 2]}]}, r"^regions\[0\]\.box\[3\]: "),
        (
            {"images": [{"id": 1}, {"id": 2}], "annotations": []},
            "^images: holds 2; choose one by id or file name, such as 1, 2",
        ),
        (
            {"images": [], "annotations": [{"bbox": [1, 2, 3, 4]}]},
            r"^annotations\[0\]\.bbox: pixels need the size",
        ),
        (
            {"images": [], "annotations": [{"category_id": 9}], "categories": [{"name": "a"}]},
            r"^annotations\[0\]\.category_id: no category has the id 9",
        ),
        (
            {
                "images": [{"id": 1, "width": 9, "height": 9}],
                "annotations": [{"image_id": 1, "segmentation": {"size": [2, 2], "counts": [3]}}],
            },
            r"^annotations\[0\]\.segmentation: .*cover 3 pixels",
        ),
        ({"shapes": [{"label": "a"}], "imageWidth": 9, "imageHeight": 9}, r"^shapes\[0\]\.points"),
        ({"shapes": [{"label": "a", "points": []}]}, "^imageWidth, imageHeight: are missing"),
        (
            {
                "shapes": [{"label": "a", "points": [[0, 0], [1, 1]], "shape_type": "spline"}],
                "imageWidth": 9,
                "imageHeight": 9,
            },
            r'^shapes\[0\]\.shape_type: cannot read "spline"',
        ),
        ({"gen_boxes": [["a"]]}, r"^gen_boxes\[0\]: expected \[phrase"),
    ],
)
def test_every_mistake_is_one_line_with_its_place(data: object, message: str) -> None:
    with pytest.raises(PromptError, match=message) as caught:
        formats.load(data)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"[" * 5000 + b"]" * 5000, "nested more than 64 deep"),
        (b"[{'phrase': 1}]", "is not valid JSON"),
        (b"\x89PNG\r\n\x1a\n", "is not UTF-8"),
        (b"42", "expected .* got 42"),
        (b'[{"phrase": "a", "box": [NaN, 0, 1, 1]}]', r"\[0\]\.box\[0\]: .* got NaN"),
        (b'{"a": [0, 0, 1, 1], "a": [0, 0, 1, 1]}', '"a" appears twice'),
    ],
)
def test_bad_files_give_one_line_that_names_them(tmp_path, content: bytes, message: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_bytes(content)
    with pytest.raises(PromptError, match=message) as caught:
        formats.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_nothing_is_a_plain_picture() -> None:
    for nothing in ([], {}, "[]", "{}", {"prompt": "hi"}):
        assert formats.load(nothing).regions == ()


def test_a_phrase_may_be_the_name_of_a_field() -> None:
    assert formats.load({"image": BOX, "prompt": [BOX]}).regions[0].phrase == "image"


def test_coco_images_are_chosen_by_id_or_name() -> None:
    data = {
        "images": [
            {"id": 1, "width": 10, "height": 10, "file_name": "a.jpg"},
            {"id": 2, "width": 20, "height": 10, "file_name": "b.jpg"},
        ],
        "annotations": [
            {"id": 5, "image_id": 2, "category_id": 1, "bbox": [5, 0, 5, 5]},
            {"id": 6, "image_id": 2, "caption": "a llama"},
        ],
        "categories": [{"id": 1, "name": "llama"}],
    }
    for chosen in (2, "2", "b.jpg"):
        prompt = formats.load(data, image=chosen)
        assert prompt.regions[0].box == (0.25, 0, 0.5, 0.5)
        assert (prompt.image, prompt.prompt, prompt.regions[0].id) == ("b.jpg", "a llama", "5")
    assert formats.load(data, image=1).regions == ()
    with pytest.raises(PromptError, match="none has the id or file name"):
        formats.load(data, image=3)


@pytest.mark.parametrize("canvas", [None, (300, 300)])
def test_sizes_that_a_file_does_not_tell_are_those_of_the_picture_beside_it(canvas, tmp_path):
    picture = Image.new("RGB", (40, 20))
    exif = picture.getexif()
    exif[0x0112] = 6  # people see 20 x 40
    picture.save(tmp_path / "a.jpg", exif=exif)
    coco = {
        "images": [{"id": "1", "file_name": "C:\\pics\\A.jpg", "width": None}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 10, 10]}],
    }
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[10, 10], [20, 20]]}
    (tmp_path / "labels").mkdir()
    for name, data in (
        ("coco.json", coco),
        ("labels/a.json", {"shapes": [shape], "imagePath": "..\\a.jpg", "imageData": None}),
    ):
        path = tmp_path / name
        path.write_text(json.dumps(data))
        document = formats.load(path, canvas=canvas)
        assert document.canvas == Canvas(width=20, height=40)
        assert document.regions[0].box == (0.5, 0.25, 1.0, 0.5)
    (tmp_path / "a.jpg").write_bytes(b"broken")
    if canvas is None:
        with pytest.raises(PromptError, match="pixels"):
            formats.load(path)
    else:
        assert formats.load(path, canvas=canvas).canvas == Canvas(width=300, height=300)


def test_categories_may_be_numbers():
    coco = {
        "images": [{"id": 1, "width": 10, "height": 10}],
        "categories": [{"id": 0, "name": 7}],
        "annotations": [{"image_id": 1, "category_id": 0, "bbox": [0, 0, 5, 5]}],
    }
    assert formats.load(coco).regions[0].phrase == "7"
    coco["categories"][0]["name"] = None
    with pytest.raises(PromptError, match="name: expected text"):
        formats.load(coco)


def test_labelme_circles_and_groups() -> None:
    shapes = [
        {"label": "a", "points": [[50, 50], [50, 70]], "shape_type": "circle"},
        {"label": "b", "points": [[1, 1], [9, 9]], "shape_type": "rectangle", "group_id": 1},
        {"label": "b", "points": [[20, 1], [29, 9]], "shape_type": "rectangle", "group_id": 1},
        {"label": "b", "points": [[22, 2]], "shape_type": "point", "group_id": 1},
    ]
    prompt = formats.load({"shapes": shapes, "imageWidth": 100, "imageHeight": 100})
    assert [region.phrase for region in prompt.regions] == ["a", "b", "b"]
    assert prompt.regions[0].bounds() == pytest.approx((0.3, 0.3, 0.7, 0.7), abs=1e-3)
    assert prompt.regions[2].points[0].xy == (0.22, 0.02)


def test_gligen_people_and_diffusers_arguments() -> None:
    joints = [[0.1 + 0.01 * i, 0.5] for i in range(16)] + [[0, 0]]
    prompt = formats.load({"prompt": "two", "locations": [joints]})
    assert prompt.regions[0].keypoints[0].name == "nose"
    assert prompt.regions[0].keypoints[16].visibility == 0
    assert formats.write_gligen(prompt).content["locations"] == [joints]
    prompt = formats.load(
        {
            "prompt": "x",
            "gligen_phrases": ["a", None],
            "gligen_boxes": [BOX, BOX],
            "gligen_images": [None, "b.png"],
            "gligen_scheduled_sampling_beta": 0.3,
        }
    )
    assert prompt.sampling.schedule == (0.3, 0.0, 0.7)
    assert prompt.regions[1].reference == Reference(image="b.png")


def test_pixels_of_a_declared_canvas_override_lgd() -> None:
    data = {"gen_boxes": [["a", [32, 32, 64, 64]]]}
    assert formats.load(data, canvas=(128, 128)).regions[0].box == (0.0625, 0.0625, 0.1875, 0.1875)
    declared = formats.load(data, canvas=(128, 128), units="pixel")
    assert declared.regions[0].box == (0.25, 0.25, 0.75, 0.75)
    fractions = {"gen_boxes": [["a", [0.25, 0.25, 0.5, 0.5]]]}
    assert formats.load(fractions, units="normalized").regions[0].box == (0.25, 0.25, 0.75, 0.75)
