import numpy as np
import pytest

from seem.evaluation.phrase_scores import PhraseScores, SearchScores


def bar(start, end):
    mask = np.zeros((1, 20), bool)
    mask[:, start:end] = True
    return mask


def test_phrases_by_hand():
    scores = PhraseScores()
    scores.add(bar(0, 10), bar(0, 10))  # 10 of 10
    scores.add(bar(0, 4), bar(2, 4))  # 2 of 4
    scores.add(bar(0, 4), bar(4, 10))  # 0 of 10
    assert scores.result() == {
        "phrases": 3,
        "ciou": pytest.approx(12 / 24),
        "miou": pytest.approx(0.5),
        "ap50": pytest.approx(2 / 3),
    }


def test_an_instance_is_found_once():
    scores = SearchScores()
    scores.add([bar(0, 5), bar(10, 15)], [bar(0, 5), bar(0, 4), bar(10, 14)])
    assert scores.result() == {
        "texts": 1,
        "instances": 2,
        "answers": 3,
        "recall50": 1,
        "precision50": pytest.approx(2 / 3),
        "exact": 0,
    }


def test_finding_nothing_where_nothing_is_is_exact():
    scores = SearchScores()
    scores.add([], [])
    scores.add([], [bar(0, 3)])
    scores.add([bar(0, 3)], [bar(0, 3)])
    scores.add([bar(0, 3)], [])
    assert scores.result()["exact"] == 0.5
    assert scores.result()["recall50"] == 0.5


def test_nothing_measured_is_zero():
    assert not any(PhraseScores().result().values())
    assert not any(SearchScores().result().values())
