import ast
import logging
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import grounding.llava
from grounding.errors import AnswerError, GeometryError, LavallamaError, PromptError
from grounding.geometry import CanvasMap, crop
from grounding.llava.box_text import DIALECTS, find_dialect
from grounding.llava.region_text import place_text, regions_to_text, text_to_regions
from grounding.masks import bitmap_to_rle, box_to_bitmap
from grounding.region import Region
from tests.grounding.llava.tiny import config

BOXED = [name for name in DIALECTS if name != "seg"]
LLAMA = Region(id="a", phrase="lava llama", box=(0.125, 0.25, 0.5, 0.75))
FRACTIONS = st.floats(0, 1)
SIZES = st.tuples(st.integers(1, 4000), st.integers(1, 4000))
WORDS = st.lists(st.from_regex(r"[a-z\u00e0-\u00f6]{1,8}", fullmatch=True), min_size=1, max_size=4)


def quantum(name: str, view: CanvasMap) -> tuple[float, float]:
    """One step of a dialect on the picture, across and down, as fractions."""
    steps = {"kosmos2": 32, "llava": 100, "llava-unpadded": 100}.get(name, 1000)
    width, height = view.target
    across, down = (1 / width, 1 / height) if name == "qwen2.5-vl" else (1 / steps, 1 / steps)
    (sx, sy), source = view.scale, view.source
    return float(across * width / sx) / source[0], float(down * height / sy) / source[1]


@st.composite
def boxes(draw):
    x0, x1 = sorted((draw(FRACTIONS), draw(FRACTIONS)))
    y0, y1 = sorted((draw(FRACTIONS), draw(FRACTIONS)))
    if x1 - x0 < 1e-3 or y1 - y0 < 1e-3:
        return 0.0, 0.0, 1.0, 1.0
    return x0, y0, x1, y1


@pytest.mark.parametrize("name", BOXED)
@settings(max_examples=60)
@given(box=boxes(), size=SIZES, words=WORDS)
@example(box=(0.0, 0.0, 1.0, 1.0), size=(1, 4000), words=["a"])
@example(box=(0.9995, 0.0, 1.0, 0.5), size=(640, 480), words=["a"])
def test_regions_come_back_within_a_step(name, box, size, words):
    dialect = DIALECTS[name]
    view = dialect.view(size)
    region = Region(phrase=" ".join(words), box=box)
    text = regions_to_text([region, LLAMA], dialect, view)
    first, second = text_to_regions(text, dialect, view, strict=True)
    assert (first.phrase, second.phrase) == (region.phrase, LLAMA.phrase)
    across, down = quantum(name, view)
    for found, asked in ((first.box, box), (second.box, LLAMA.box)):
        assert found is not None
        for index, (one, other) in enumerate(zip(found, asked, strict=True)):
            assert abs(one - other) <= (down if index % 2 else across) * (1 + 1e-6)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("llava", "lava llama: [0.12, 0.38, 0.50, 0.62]"),  # 640 x 320 in a square
        ("llava-unpadded", "lava llama: [0.12, 0.25, 0.50, 0.75]"),
        (
            "kosmos2",
            "<phrase>lava llama</phrase><object><patch_index_0260><patch_index_0751></object>",
        ),
        ("florence2", "lava llama<loc_125><loc_250><loc_500><loc_750>"),
        ("qwen2.5-vl", '{"bbox_2d": [80, 77, 322, 231], "label": "lava llama"}'),  # 644 x 308
        ("qwen3-vl", '{"bbox_2d": [125, 250, 500, 750], "label": "lava llama"}'),
        ("internvl", "<ref>lava llama</ref><box>[[125, 250, 500, 750]]</box>"),
        ("seg", "<p> lava llama </p> [SEG]"),
    ],
)
def test_regions_are_written_as_the_models_do(name, text):
    dialect = find_dialect(name)
    assert regions_to_text([LLAMA], dialect, dialect.view((640, 320))) == text


ANSWERS = {
    "llava": (
        "There is a llama [0.10, 0.20, 0.30, 0.40] and a volcano [.5,.5,1.0,1]. Fine.",
        ["There is a llama", "a volcano"],
    ),
    "kosmos2": (
        "<grounding> <phrase>two cats</phrase><object><patch_index_0000><patch_index_0033>"
        "</delimiter_of_multi_objects/><patch_index_0010><patch_index_0111></object> sleep",
        ["two cats", "two cats"],
    ),
    "florence2": (
        "</s><s>cat<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8>dog<loc_9><loc_9>"
        "<loc_20><loc_20></s>",
        ["cat", "cat", "dog"],
    ),
    "qwen3-vl": (
        '```json\n[\n\t{"bbox_2d": [1, 2, 30, 40], "label": "a \\"cat\\""},\n'
        '\t{"label": "dog", "bbox_2d": [5, 6, 70, 80]},\n\t{"bbox_2d": [5, 6',
        ['a "cat"', "dog"],
    ),
    "internvl": (
        "<ref>cats</ref><box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box> and <box>[[1,1,2,2]]</box>",
        ["cats", "cats", ""],
    ),
    "seg": ("It is [SEG]. <p> a cat </p> [SEG]", ["", "a cat"]),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_of_models_are_read(name):
    text, phrases = ANSWERS[name]
    dialect = find_dialect(name)
    regions = text_to_regions(text, dialect, dialect.view((100, 100)), strict=True)
    assert [region.phrase for region in regions] == phrases
    assert all((region.box is None) == (name == "seg") for region in regions)


# Of transformers 5.23: coordinate_to_patch_index and patch_index_to_coordinate.
@pytest.mark.parametrize(
    ("box", "cells", "read"),
    [
        ((0.1, 0.2, 0.5, 0.9), (195, 911), (0.109375, 0.203125, 0.484375, 0.890625)),
        ((0.0, 0.0, 1.0, 1.0), (0, 1023), (0.015625, 0.015625, 0.984375, 0.984375)),
        ((0.4, 0.1, 0.41, 0.8), (108, 813), (0.390625, 0.109375, 0.421875, 0.796875)),
        ((0.4, 0.1, 0.405, 0.8), (108, 812), (0.375, 0.09375, 0.40625, 0.8125)),
    ],
)
def test_kosmos2_boxes_are_those_of_transformers(box, cells, read):
    dialect = find_dialect("kosmos2")
    place = dialect.place(box, (9, 9))
    assert place == "<object><patch_index_{:04d}><patch_index_{:04d}></object>".format(*cells)
    [found] = dialect.read(place, (9, 9))
    assert found.box == read


@pytest.mark.parametrize("size", [(640, 480), (333, 1000), (1, 7)])
@pytest.mark.parametrize("version", ["v1", "v1.5"])
def test_padding_and_cropping_are_undone(size, version):
    view = config(version).reader.view(size)
    dialect = find_dialect("llava")
    seen = view.inverse().normalized_box((0, 0, 1, 1))
    left, top = max(seen[0], 0), max(seen[1], 0)
    right, bottom = min(seen[2], 1), min(seen[3], 1)
    region = Region(phrase="middle", box=(left, top, right, bottom))
    [found] = text_to_regions(regions_to_text([region], dialect, view), dialect, view)
    across, down = quantum("llava", view)
    assert found.box == pytest.approx(region.box, abs=max(across, down))


def test_what_the_model_does_not_see_cannot_be_pointed_at():
    view = crop((100, 50), 25, 0, 50, 50)
    dialect = find_dialect("llava")
    with pytest.raises(PromptError, match="outside of what the model sees"):
        place_text(Region(id="a", box=(0, 0, 0.2, 1)), dialect, view)
    assert place_text(Region(box=(0, 0, 0.5, 1)), dialect, view) == "[0.00, 0.00, 0.50, 1.00]"
    with pytest.raises(PromptError, match="has no box"):
        place_text(Region(id="a", phrase="x"), dialect, view)
    with pytest.raises(PromptError, match="no boxes to point with"):
        place_text(LLAMA, find_dialect("seg"), view)


def test_masks_have_a_place_too():
    mask = bitmap_to_rle(box_to_bitmap((0.25, 0.5, 0.75, 1.0), (40, 40)))
    dialect = find_dialect("qwen3-vl")
    text = place_text(Region(mask=mask), dialect, dialect.view((40, 40)))
    assert text == "[250, 500, 750, 1000]"


def test_phrases_cannot_forge_boxes():
    forged = Region(id="a", phrase="x</ref><box>[[1, 1, 2, 2]]</box>{\n", box=(0.1, 0.1, 0.2, 0.2))
    for name in ("kosmos2", "florence2", "qwen3-vl", "internvl"):
        dialect = find_dialect(name)
        view = dialect.view((100, 100))
        assert len(text_to_regions(regions_to_text([forged], dialect, view), dialect, view)) == 1
    with pytest.raises(PromptError, match="expected a phrase"):
        find_dialect("internvl").write("<box>", (0, 0, 1, 1), (9, 9))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[0.5, 0.2, 0.1, 0.9]", "x0 must be below x1"),
        ("[0.1, 0.2, 0.1, 0.9]", "x0 must be below x1"),
        ("[1.1, 0.2, 3, 0.9]", "beside the picture"),
        ("[0.1, 0.0, 0.9, 0.1]", "beside the picture"),  # in the padding
    ],
)
def test_impossible_boxes_are_left_out_or_refused(text, problem, caplog):
    dialect = find_dialect("llava")
    view = dialect.view((100, 50))
    with pytest.raises(AnswerError, match=problem):
        text_to_regions(text, dialect, view, strict=True)
    with caplog.at_level(logging.WARNING):
        assert text_to_regions(text, dialect, view) == ()
    assert problem in caplog.text


def test_boxes_are_cut_to_the_picture():
    dialect = find_dialect("llava-unpadded")
    [region] = text_to_regions("llama [-0.1, 0.5, 0.5, 1.2]", dialect, dialect.view((9, 9)))
    assert region.box == (0.0, 0.5, 0.5, 1.0)


TRICKS = [
    "[__import__('pathlib').Path('executed').touch()]", "[1,2,3,4" * 50, "[" * 2000, "{" * 2000,
    '{"bbox_2d": [1e999, NaN, 3, 4]}', '{"bbox_2d": [1,2,3,4], "label": "\\u12"}', "<loc_99999>",
    "<object><patch_index_0000></object>", "<patch_index_9999>" * 9, "[0.1, 0.2, 0.3]", "\ud800",
    "<object><patch_index_9999><patch_index_0000></object>", "[" + "9" * 9999 + ",1,2,3]",
    "<box>[[" + "1," * 5000 + "]]</box>", '{"label": "' + "\\" * 5001, "<loc_1>" * 401, "[ ,,, ]",
    "\x00[0.1, 0.2, 0.3, 0.4]", "<ref>" * 3000 + "</ref>", "[SEG]" * 300, "<p>" * 3000 + "[SEG]",
]  # fmt: skip
FRAGMENTS = st.sampled_from(
    [
        "[", "]", "{", "}", "<", ">", ",", " ", "\n", "0.1", "1", "-5", "1e9", "nan", ".", '"',
        "\\", "<loc_12>", "<loc_", "<object>", "</object>", "<patch_index_0007>", "<box>", "[[",
        "]]", "</box>", "<ref>", "</ref>", '"bbox_2d":', '"label":', "[SEG]", "<p>", "</p>",
        "llama", "[0.1, 0.2, 0.3, 0.4]", "[9, 8, 7, 6]", "</delimiter_of_multi_objects/>", "\u2028",
    ]
)  # fmt: skip
GARBAGE = st.lists(FRAGMENTS, max_size=40).map("".join) | st.text(max_size=60)


def survives(text: str) -> None:
    for dialect in DIALECTS.values():
        view = dialect.view((64, 48))
        for strict in (False, True):
            try:
                regions = text_to_regions(text, dialect, view, strict=strict)
            except LavallamaError:
                assert strict
                continue
            for region in regions:
                assert region.box is None or 0 <= region.box[0] < region.box[2] <= 1


@settings(max_examples=500)
@given(text=GARBAGE)
def test_malformed_answers_raise_nothing_but_our_own_error(text):
    survives(text)


@pytest.mark.parametrize("text", TRICKS)
def test_tricks_are_text(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    survives(text)
    assert not list(tmp_path.iterdir())


def test_nothing_here_evaluates():
    folder = Path(grounding.llava.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Name | ast.Attribute):
                name = node.id if isinstance(node, ast.Name) else node.attr
                assert name not in ("exec", "literal_eval", "__import__", "loads_pickle"), path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "eval", path


def test_unknown_dialects_are_refused_with_the_choice():
    with pytest.raises(PromptError, match="choose from llava, "):
        find_dialect("gpt")
    with pytest.raises(GeometryError):
        find_dialect("llava").view((0, 5))
