"""Closer looks: where the windows lie, how marks move into them, and when there is one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.region import Point, Stroke
from seem import zoom_in
from seem.detector import Detections
from seem.encoded_image import encode_image
from seem.marks import Marks
from seem.zoom_in import GROWN, NARROWEST, Answers, answer_marks
from tests.seem.predicting import HEIGHT, WIDTH, picture, ready_refined

LARGE = 300, 400  # height, width
FRACTION = st.floats(0, 0.999)
PLACE = st.tuples(FRACTION, FRACTION)
SEEN = st.tuples(st.integers(0, 299), st.integers(0, 399))


class Image:
    """All that a window needs of an encoded image."""

    class size:  # noqa: N801
        original = LARGE


def window_of(marks: Marks, seen: torch.Tensor | None = None) -> zoom_in.Window:
    return zoom_in._window(Image, marks, seen)  # type: ignore[arg-type]


def click(x: float, y: float, label: int = 1) -> Point:
    return Point(xy=(x, y), label=1 if label else 0)


@settings(max_examples=60, deadline=None)
@given(points=st.lists(PLACE, min_size=1, max_size=3), line=st.lists(PLACE, max_size=3), spot=SEEN)
def test_a_window_holds_all_that_is_drawn_and_was_seen(points, line, spot) -> None:
    seen = torch.zeros(LARGE, dtype=torch.bool)
    seen[spot] = True
    strokes = (Stroke(xy=tuple(line)),) if line else ()
    marks = Marks(points=tuple(click(*xy) for xy in points), strokes=strokes)
    left, top, right, bottom = window_of(marks, seen)
    assert 0 <= left < right <= LARGE[1]
    assert 0 <= top < bottom <= LARGE[0]
    for x, y in (*points, *line):
        assert left <= x * LARGE[1] <= right
        assert top <= y * LARGE[0] <= bottom
    assert left <= spot[1] < right
    assert top <= spot[0] < bottom


def test_a_box_grows_about_its_middle() -> None:
    left, top, right, bottom = window_of(Marks(box=(0.4, 0.4, 0.6, 0.6)))  # 160..240, 120..180
    assert (right - left, bottom - top) == (80 * GROWN, 60 * GROWN)
    assert ((left + right) / 2, (top + bottom) / 2) == (200, 150)


def test_a_window_is_no_slit_and_no_speck_and_ends_with_the_image() -> None:
    left, top, right, bottom = window_of(Marks(box=(0.4, 0.5, 0.6, 0.51)))
    assert bottom - top == pytest.approx(0.6 * 80, abs=1)
    assert right - left == pytest.approx(80 * GROWN, abs=1)
    speck = window_of(Marks(points=(click(0.5, 0.5),)))
    assert (speck[2] - speck[0], speck[3] - speck[1]) == (NARROWEST, NARROWEST)
    assert window_of(Marks(box=(0.0, 0.0, 1.0, 1.0))) == (0, 0, 400, 300)
    corner = window_of(Marks(points=(click(0.0, 0.0),)))
    assert corner[:2] == (0, 0)


def test_a_mask_of_any_size_is_looked_at_whole() -> None:
    mask = np.zeros((600, 800), bool)
    mask[401, 601] = True  # a pixel that reading every second one would lose
    left, top, right, bottom = window_of(Marks(mask=mask))
    assert left <= 300 < right
    assert top <= 200 < bottom
    marks = zoom_in._within(Marks(mask=mask), (left, top, right, bottom), LARGE)
    assert marks.mask is not None
    assert marks.mask.shape == (bottom - top, right - left)
    assert np.argwhere(marks.mask).tolist() == [[200 - top, 300 - left]]


@settings(max_examples=60, deadline=None)
@given(points=st.lists(PLACE, min_size=2, max_size=4, unique=True))
def test_marks_move_into_a_window_and_back(points) -> None:
    (x0, x1), (y0, y1) = (
        sorted({xy[axis] for xy in points[:2]} | {0.0, 1.0})[:2] for axis in (0, 1)
    )
    marks = Marks(
        points=tuple(click(*xy, label=i % 2) for i, xy in enumerate(points)),
        strokes=(Stroke(xy=tuple(points), width=0.03, label=0),),
        box=(x0, y0, x1, y1),
    )
    window = left, top, right, bottom = window_of(marks)
    moved = zoom_in._within(marks, window, LARGE)

    def back(x: float, y: float) -> tuple[float, float]:
        return (left + x * (right - left)) / LARGE[1], (top + y * (bottom - top)) / LARGE[0]

    for one, other in zip(marks.points, moved.points, strict=True):
        assert back(*other.xy) == pytest.approx(one.xy, abs=1e-9)
        assert other.label == one.label
    for one, other in zip(marks.strokes[0].xy, moved.strokes[0].xy, strict=True):
        assert back(*other) == pytest.approx(one, abs=1e-9)
    assert moved.strokes[0].label == 0
    brush = moved.strokes[0].width * max(bottom - top, right - left)
    assert brush == pytest.approx(0.03 * max(LARGE)) or moved.strokes[0].width == 1
    assert moved.box is not None
    assert (*back(*moved.box[:2]), *back(*moved.box[2:])) == pytest.approx(marks.box, abs=1e-9)


@pytest.fixture
def looks(monkeypatch):
    """The windows that are looked at, with answers that hold a square in the middle of them."""
    seen: list[tuple[zoom_in.Window, bool]] = []

    def look(model, image, view, marks, before, window, *, shown=None) -> Answers:
        seen.append((window, before is not None))
        left, top, right, bottom = window
        high, wide = bottom - top, right - left
        logits = torch.full((4, high, wide), -2.0)
        logits[:, high * 2 // 5 : high * 3 // 5, wide * 2 // 5 : wide * 3 // 5] = 2
        return Answers(logits=logits, quality=torch.ones(4), window=window)

    monkeypatch.setattr(zoom_in, "_look", look)
    monkeypatch.setattr(zoom_in, "detections", lambda model, image: None)
    return seen


def test_how_often_a_question_is_looked_at(looks) -> None:
    predictor = ready_refined()
    model, image, whole = predictor.model, predictor.image, (0, 0, WIDTH, HEIGHT)

    def ask(
        marks: Marks, previous: torch.Tensor | None = None
    ) -> list[tuple[zoom_in.Window, bool]]:
        looks.clear()
        answer_marks(model, image, marks, previous)
        return list(looks)

    middle = click(0.5, 0.5)
    assert ask(Marks(points=(middle,))) == [(whole, False)]
    assert ask(Marks(strokes=(Stroke(xy=((0.4, 0.5), (0.6, 0.5))),))) == [(whole, False)]
    boxed = ask(Marks(box=(0.4, 0.4, 0.6, 0.6)))
    assert len(boxed) == 1
    assert boxed[0][0] != whole
    first, second = ask(Marks(points=(middle, click(0.6, 0.6, 0))))
    assert first == (whole, False)
    assert second[0] != whole
    assert second[1]  # it refines what was seen
    previous = torch.full((1, image.size.padded[0] // 4, image.size.padded[1] // 4), -5.0)
    previous[:, 100:140, 120:140] = 5
    assert len(ask(Marks(points=(middle,)), previous)) == 2
    far = Marks(points=(click(0.02, 0.02), click(0.98, 0.98)))
    assert ask(far) == [(whole, False)]  # a closer look would show no more


def test_a_detection_has_a_say_in_a_first_click(looks, monkeypatch) -> None:
    predictor = ready_refined()
    boxes = torch.tensor([[0.0, 0.0, 0.3, 0.3], [0.4, 0.4, 0.6, 0.6], [0.45, 0.45, 0.6, 0.6]])

    def vote(*scores: float) -> Answers:
        found = Detections(boxes=boxes, scores=torch.tensor(scores), labels=torch.zeros(3).long())
        monkeypatch.setattr(zoom_in, "detections", lambda model, image: found)
        looks.clear()
        return answer_marks(predictor.model, predictor.image, Marks(points=(click(0.5, 0.5),)))

    alone = vote(0.9, 0.1, 0.1)
    assert len(looks) == 1
    assert alone.logits.max() == 2
    voted = vote(0.9, 0.8, 0.7)
    assert len(looks) == 2
    assert voted.logits.shape == (4, HEIGHT, WIDTH)
    assert voted.logits[0, 0, 0] == (-2 - zoom_in.SURE) / 2  # beyond the detection's window
    assert voted.logits[0, HEIGHT // 2, WIDTH // 2] == 2
    assert torch.equal(voted.logits[1:], alone.logits[1:])


def test_closer_looks_are_kept_and_the_oldest_forgotten() -> None:
    predictor = ready_refined()
    image = predictor.image
    assert image.picture is not None
    for number in range(zoom_in.KEPT + 2):
        box = (0.1, 0.1, 0.3 + number / 30, 0.5)
        answer_marks(predictor.model, image, Marks(box=box))
    assert len(image.closer) == zoom_in.KEPT
    kept = dict(image.closer)
    answer_marks(predictor.model, image, Marks(box=box))
    assert image.closer == kept
    for key, closer in kept.items():
        left, top, right, bottom = key[:4]
        assert closer.size.original == (bottom - top, right - left)
        assert closer.picture is None  # it is a part of the image's
        part = encode_image(predictor.model, picture()[top:bottom, left:right], zoom_in.BOXED)
        assert torch.equal(closer.memory.mask_features, part.memory.mask_features)
