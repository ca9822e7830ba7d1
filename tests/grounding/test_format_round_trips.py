"""Documents that are written in foreign formats and read again; what a format cannot hold."""

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounding import formats
from grounding.errors import PromptError
from grounding.formats.lgd import write_lgd_text
from grounding.masks import bitmap_to_rle, box_to_bitmap
from grounding.prompt import Canvas, GroundedPrompt, Keypoint, Point, Reference, Region, Stroke

BOX = (0.1, 0.2, 0.5, 0.6)
SIZE = (640, 480)

phrase = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12)
line = st.lists(
    st.sampled_from(["a", "z", "'", '"', "\\", ",", "(", ")", "[", "]", "é", "🦙", ".", "red"]),
    min_size=1,
    max_size=6,
).map(" ".join)


@st.composite
def pixel_boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    """Normalised boxes that lie on whole pixels of SIZE."""
    xs = sorted(draw(st.lists(st.integers(0, 640), min_size=2, max_size=2, unique=True)))
    ys = sorted(draw(st.lists(st.integers(0, 480), min_size=2, max_size=2, unique=True)))
    return xs[0] / 640, ys[0] / 480, xs[1] / 640, ys[1] / 480


def close(a: GroundedPrompt, b: GroundedPrompt) -> bool:
    """Whether two documents agree but for the rounding of coordinates."""
    return _same(a.to_dict(), b.to_dict())


def _same(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return abs(a - b) < 1e-8
    return a == b


def documents(**fields) -> st.SearchStrategy[GroundedPrompt]:
    regions = st.lists(st.builds(Region, **fields), max_size=4).map(tuple)
    return st.builds(
        GroundedPrompt, canvas=st.just(Canvas(width=SIZE[0], height=SIZE[1])), regions=regions
    )


short = documents(
    phrase=phrase, box=pixel_boxes(), z=st.integers(-2, 2), score=st.none() | st.floats(0, 1)
)


@settings(max_examples=40)
@given(short)
def test_short_form_and_document_round_trip(prompt: GroundedPrompt) -> None:
    content, dropped = formats.write_document(prompt)
    assert not dropped
    assert formats.load(content) == prompt
    content, dropped = formats.write_short(prompt.replace(canvas=None))
    assert not dropped
    assert formats.load(json.loads(json.dumps(content)), units="normalized") == prompt.replace(
        canvas=None
    )


@settings(max_examples=40)
@given(documents(phrase=phrase, box=pixel_boxes(), score=st.none() | st.floats(0, 1)))
def test_coco_round_trips(prompt: GroundedPrompt) -> None:
    mask = bitmap_to_rle(box_to_bitmap(BOX, (64, 48)))
    regions = [
        region.replace(
            id=str(10 + index),
            **[
                {"mask": mask},
                {"polygon": (((0.25, 0.25), (0.5, 0.25), (0.5, 0.75)),)},
                {"keypoints": (Keypoint(xy=(0.5, 0.5), name="nose"), Keypoint(xy=(0, 0)))},
                {"attributes": {"iscrowd": 1, "color": "red"}},
            ][index],
        )
        for index, region in enumerate(prompt.regions)
    ]
    prompt = prompt.replace(regions=tuple(regions), image="photo.jpg")
    content, dropped = formats.write_coco(prompt)
    assert [name for name in dropped if "names" not in name] == []
    if not dropped:
        assert close(formats.load(content), prompt)
    again, _ = formats.write_coco(formats.load(content))
    assert again == content


@settings(max_examples=40)
@given(
    documents(
        phrase=phrase,
        box=st.none() | pixel_boxes(),
        points=st.just((Point(xy=(0.5, 0.25)), Point(xy=(0.25, 0.5), label=0))) | st.just(()),
        strokes=st.just((Stroke(xy=((0.5, 0.25), (0.75, 0.5)), label=0),)) | st.just(()),
        polygon=st.just((((0.25, 0.25), (0.5, 0.25), (0.5, 0.75)),)),
        attributes=st.dictionaries(st.sampled_from(["a", "b"]), st.booleans()),
    )
)
def test_labelme_round_trips(prompt: GroundedPrompt) -> None:
    content, dropped = formats.write_labelme(prompt)
    assert not dropped
    assert close(formats.load(json.loads(json.dumps(content))), prompt)
    assert formats.write_labelme(formats.load(content)).content == content


@settings(max_examples=40)
@given(
    documents(
        phrase=phrase,
        box=pixel_boxes(),
        reference=st.none() | st.builds(Reference, image=st.just("a.jpg")),
    ),
    phrase,
)
def test_gligen_round_trips(prompt: GroundedPrompt, words: str) -> None:
    prompt = GroundedPrompt.model_validate(
        {
            "regions": prompt.regions,
            "prompt": words,
            "negative_prompt": words,
            "image": "in.png",
            "maps": {"depth": "d.png", "hed": "h.png", "semantic": "s.png"},
            "sampling": {"schedule": [0.3, 0.0, 0.7]},
        }
    )
    content, dropped = formats.write_gligen(prompt)
    assert not dropped
    assert formats.load(json.loads(json.dumps(content))) == prompt


@settings(max_examples=60)
@given(documents(phrase=line, box=pixel_boxes()), line, line, line)
def test_lgd_round_trips_both_ways(prompt: GroundedPrompt, caption, behind, negative) -> None:
    prompt = prompt.replace(
        canvas=Canvas(width=512, height=512),
        prompt=caption,
        background=behind,
        negative_prompt=negative,
    )
    for write in (formats.write_lgd, write_lgd_text):
        content, dropped = write(prompt)
        assert not dropped
        again = formats.load(content)
        assert close(again, prompt)
        assert write(again).content == content


def test_writers_say_what_they_drop(caplog) -> None:
    prompt = GroundedPrompt.model_validate(
        {
            "prompt": "p",
            "background": "sea",
            "canvas": {"width": 64, "height": 64},
            "sampling": {"seed": 3},
            "regions": [
                {"id": "mine", "phrase": "a", "box": BOX, "z": 2},
                {"phrase": "b", "points": [{"xy": [0.5, 0.5]}]},
            ],
        }
    )
    with caplog.at_level(logging.WARNING):
        lost = formats.write_gligen(prompt).dropped
    assert {"background", "sampling.seed", "canvas", "regions[0].id", "regions[0].z"} <= set(lost)
    assert "regions[1].points" in lost
    assert "regions[1], which has no box" in lost
    assert "prompt" not in lost
    assert "background" in caplog.text
    assert "regions[0].id" in formats.write_coco(prompt).dropped
    assert "prompt" in formats.write_labelme(prompt).dropped
    assert "sampling" in formats.write_lgd(prompt).dropped
    assert "regions[1].points" in formats.write_short(prompt).dropped
    for write in (formats.write_coco, formats.write_labelme):
        with pytest.raises(PromptError, match="counts in pixels"):
            write(prompt.replace(canvas=None))
