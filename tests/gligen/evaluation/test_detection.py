"""What counts as found."""

import pytest

from gligen.evaluation.detection import (
    Detection,
    best_overlap,
    certain,
    compare_attributes,
    distinct,
    likely,
)
from gligen.evaluation.layout import Instance
from tests.gligen.evaluation.oracle import Oracle, Sight

HERE, THERE = (0.0, 0.0, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9)


def seen(text, box=HERE, score=0.9):
    return Detection(text=text, box=box, score=score)


def test_of_duplicates_the_most_certain_stays():
    almost = (0.0, 0.0, 0.4, 0.38)
    found = [seen("dog", almost, 0.6), seen("dog", score=0.8), seen("dog", THERE, 0.7)]
    assert distinct(found) == [found[1], found[2]]
    assert len(distinct([seen("dog"), seen("cat")])) == 2


def test_only_what_reaches_the_threshold_and_is_known_counts():
    sight = Sight((Instance(noun="dog", box=HERE), Instance(noun="cat", box=THERE)), {"cat": 0.4})
    assert [d.text for d in certain(sight, Oracle(), "dog")] == ["dog"]
    assert likely(sight, Oracle(), "cat") == []
    assert certain(sight, Oracle(words=("cat",)), "dog") == []


def test_the_best_overlap_comes_with_its_box():
    wide = (0.0, 0.0, 0.8, 0.4)
    overlap, best = best_overlap(HERE, [seen("dog", THERE), seen("dog", wide)])
    assert overlap == pytest.approx(0.5)
    assert best is not None
    assert best.box == wide
    assert best_overlap(HERE, [seen("dog", THERE)]) == (0.0, None)


def test_attributes_are_told_by_the_phrase_that_scores_most_in_the_box():
    things = (
        Instance(noun="dog", box=HERE, attribute="ice"),
        Instance(noun="dog", box=HERE, attribute="lava"),
        Instance(noun="dog", box=THERE, attribute="gold"),
    )
    sight = Sight(things, {"ice dog": 0.3, "lava dog": 0.6, "gold dog": 0.99})
    choices = ("ice", "lava", "gold")
    assert compare_attributes(sight, HERE, "dog", choices) == "lava"
    assert compare_attributes(sight, HERE, "cat", choices) is None
