"""Boxes asked for and found, over pictures of different sizes."""

import pytest

from gligen.evaluation.box_precision import BoxPrecision
from gligen.evaluation.detection import Detection
from gligen.evaluation.layout import Instance

HERE, THERE = (0.0, 0.0, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9)


def asked(noun, box=HERE):
    return Instance(noun=noun, box=box)


def found(text, box=HERE, score=0.9):
    return Detection(text=text, box=box, score=score)


def values(precision):
    result = precision.result()
    return result["ap"], result["ap50"], result["ap75"], result["instances"]


def test_all_in_place_is_one():
    precision = BoxPrecision(["cat", "dog", "owl"])
    precision.add(
        [asked("cat"), asked("dog", THERE)], [found("dog", THERE), found("cat")], (64, 48)
    )
    precision.add([asked("dog")], [found("dog")], (512, 512))
    assert values(precision) == pytest.approx((1, 1, 1, 3))


def test_boxes_with_each_other_s_names_are_zero():
    precision = BoxPrecision(["cat", "dog"])
    precision.add(
        [asked("cat"), asked("dog", THERE)], [found("cat", THERE), found("dog")], (64, 64)
    )
    assert values(precision) == (0, 0, 0, 2)


def test_a_surer_wrong_one_on_another_picture_halves_the_precision():
    precision = BoxPrecision(["cat"])
    precision.add([asked("cat")], [found("cat", score=0.5)], (64, 64))
    precision.add([], [found("cat", score=0.9)], (64, 64))
    assert values(precision) == pytest.approx((0.5, 0.5, 0.5, 1))


def test_what_was_not_asked_for_but_is_there_is_neither_right_nor_wrong():
    precision = BoxPrecision(["cat"])
    surer = found("cat", THERE, 0.99)
    precision.add([asked("cat")], [surer, found("cat")], (64, 64), ignored=[asked("cat", THERE)])
    assert values(precision) == pytest.approx((1, 1, 1, 1))


def test_an_ignored_twin_of_what_is_asked_for_changes_nothing():
    precision = BoxPrecision(["cat"])
    precision.add([asked("cat")], [found("cat")], (64, 64), ignored=[asked("cat")])
    assert values(precision)[3] == 1


def test_the_hundred_most_certain_of_a_picture_count():
    precision = BoxPrecision(["cat", "dog"])
    many = [found("dog", score=0.5 + i / 1000) for i in range(100)]
    precision.add([asked("cat")], [found("cat", score=0.4), *many], (64, 64))
    assert values(precision) == (0, 0, 0, 1)
