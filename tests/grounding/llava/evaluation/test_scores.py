import pytest

from grounding.llava.evaluation.scores import (
    box_scores,
    caption_scores,
    hit_scores,
    pair_score,
    yes_no_scores,
)


def test_yes_no_counts_like_pope():
    rows = [(True, True), (True, False), (False, True), (False, False), (False, None)]
    scores = yes_no_scores(rows)
    assert scores == {
        "questions": 5,
        "accuracy": 0.4,
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "yes_ratio": 0.4,
        "unread": 1,
    }


def test_who_always_says_yes_has_a_recall_of_one():
    scores = yes_no_scores([(True, True), (False, True)])
    assert (scores["accuracy"], scores["recall"], scores["yes_ratio"]) == (0.5, 1.0, 1.0)
    assert scores["f1"] == pytest.approx(2 / 3)
    silent = yes_no_scores([(True, None), (False, None)])
    assert (silent["precision"], silent["f1"], silent["unread"]) == (0.0, 0.0, 2)


def test_boxes():
    scores = box_scores([1.0, 0.5, 0.3, None])
    assert scores == {"questions": 4, "iou": pytest.approx(0.45), "acc50": 0.5, "unread": 1}


def test_pairs_are_right_together():
    rows = [("a", True), ("a", True), ("b", True), ("b", False)]
    assert pair_score(rows) == {"pairs": 2, "text_score": 0.5}
    assert hit_scores([(True, False), (False, True)])["accuracy"] == 0.5


def test_captions_look_at_nouns_but_for_exactness():
    rows = [
        (("lava llama", "dog"), ("llama", "dog")),  # said without its material
        (("lava llama",), ("lava llama",)),
        (("dog",), ("dog", "gold cat")),  # made up
    ]
    scores = caption_scores(rows)
    assert scores["recall"] == 1
    assert scores["chair_i"] == pytest.approx(1 / 5)
    assert scores["chair_s"] == pytest.approx(1 / 3)
    assert scores["exact"] == pytest.approx(1 / 3)
