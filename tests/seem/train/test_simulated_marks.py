"""Prompts that a person might give: on the segment, of every kind, the same for the same seed."""

from collections import Counter

import numpy as np
import pytest

from seem.marks import Marks
from seem.train.simulated_marks import SimulatedPrompt, correct, draw_prompt
from tests.seem.train.segments import Plates

SIDE = 64


def plate() -> np.ndarray:
    _, pieces, _ = Plates(SIDE, SIDE).read(0)
    return pieces > 1


def kind_of(marks: Marks) -> str:
    given = {
        "points": bool(marks.points),
        "strokes": bool(marks.strokes),
        "box": marks.box is not None,
        "mask": marks.mask is not None,
    }
    [kind] = [name for name, there in given.items() if there]
    return kind


def drawn(truth: np.ndarray, count: int = 120) -> list[SimulatedPrompt]:
    return [draw_prompt(truth, np.random.default_rng(seed)) for seed in range(count)]


def test_every_kind_is_drawn_and_lies_on_the_segment() -> None:
    truth = plate()
    found = Counter()
    for prompt in drawn(truth):
        marks = prompt.marks
        found[kind_of(marks)] += 1
        assert marks.positive
        places = [p.xy for p in marks.points] + [xy for s in marks.strokes for xy in s.xy]
        for x, y in places:
            assert truth[int(y * SIDE), int(x * SIDE)]
        if marks.box is not None:
            x0, y0, x1, y1 = marks.box
            assert 0 <= x0 < x1 <= 1
            assert 0 <= y0 < y1 <= 1
            inside = truth[int(y0 * SIDE) : int(y1 * SIDE) + 1, int(x0 * SIDE) : int(x1 * SIDE) + 1]
            assert inside.sum() > 0.8 * truth.sum()
        if marks.mask is not None:
            both, either = (marks.mask & truth).sum(), (marks.mask | truth).sum()
            assert both / either > 0.4
    assert set(found) == {"points", "strokes", "box", "mask"}
    assert found["points"] > found["box"] > found["mask"]


def test_a_box_says_nothing_of_a_thin_thing() -> None:
    truth = np.eye(SIDE, dtype=bool)
    kinds = {kind_of(prompt.marks) for prompt in drawn(truth, 60)}
    assert kinds == {"points", "strokes"}


def test_a_single_pixel_can_be_asked_about() -> None:
    truth = np.zeros((SIDE, SIDE), bool)
    truth[5, 60] = True
    for prompt in drawn(truth, 60):
        assert prompt.marks.positive


def test_the_same_seed_draws_the_same() -> None:
    for one, again in zip(drawn(plate(), 20), drawn(plate(), 20), strict=True):
        for name in ("points", "strokes", "box"):
            assert getattr(one.marks, name) == getattr(again.marks, name)
        assert np.array_equal(one.marks.mask, again.marks.mask)


@pytest.mark.parametrize("missed", [True, False])
def test_a_correction_clicks_the_largest_mistake(missed: bool) -> None:
    truth = plate()
    answer = truth.copy()
    y0 = int(np.flatnonzero(truth.any(1))[0])
    if missed:
        answer[y0 : y0 + 12] = False
    else:
        answer[y0 + 5 :, 50:] = True
    first = draw_prompt(truth, np.random.default_rng(0))
    second = correct(first, answer)
    assert second.marks.points[: len(first.marks.points)] == first.marks.points
    [new] = second.marks.points[len(first.marks.points) :]
    assert new.label == int(missed)
    x, y = new.xy
    assert truth[int(y * SIDE), int(x * SIDE)] == missed
    assert answer[int(y * SIDE), int(x * SIDE)] != missed
    assert correct(second, truth).marks.points == second.marks.points  # nothing is wrong
