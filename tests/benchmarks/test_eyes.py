"""The benchmark of the loop's eyes: its sums."""

import pytest

from benchmarks.eyes import summary
from grounding.errors import PromptError


def test_an_eye_that_knows_and_one_that_guesses() -> None:
    right = [True, True, False, False]
    knows = summary(right, [0.9, 0.8, 0.2, 0.1], least=0.5)
    assert knows == {"passes_right": 1, "passes_wrong": 0, "area_under_curve": 1}
    guesses = summary(right, [1.0, 1.0, 1.0, 1.0], least=0.5)
    assert guesses == {"passes_right": 1, "passes_wrong": 1, "area_under_curve": 0.5}
    partly = summary(right, [0.9, 0.3, 0.4, 0.1], least=0.5)
    assert partly == {"passes_right": 0.5, "passes_wrong": 0, "area_under_curve": 0.75}


def test_nothing_is_told_apart_where_all_is_right() -> None:
    with pytest.raises(PromptError, match="2 things came out right and 0 wrong"):
        summary([True, True], [0.9, 0.8], least=0.5)
