"""COCO-MIG's scores of instances that are right, misplaced, or of another material."""

import pytest

from gligen.evaluation.instance_success import InstanceSuccess
from gligen.evaluation.layout import Instance
from tests.gligen.evaluation.oracle import Oracle, Sight

HERE, THERE = (0.0, 0.0, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9)
LLAMA = Instance(noun="llama", box=HERE, attribute="lava")
DOG = Instance(noun="dog", box=THERE)
MATERIALS = ("lava", "ice")


def scores(*pictures, detector=None):
    success = InstanceSuccess(MATERIALS)
    for asked, there in pictures:
        success.add(asked, Sight(tuple(there)), detector or Oracle())
    return success.result()


def test_all_in_place_is_one_and_pictures_are_told_apart_by_their_number_of_instances():
    result = scores(([DOG], [DOG]), ([LLAMA, DOG], [DOG, LLAMA]), ([DOG], [DOG]))
    assert list(result) == ["1", "2", "all"]
    assert [row["pictures"] for row in result.values()] == [2, 1, 3]
    assert [row["instances"] for row in result.values()] == [2, 2, 4]
    for row in result.values():
        assert row["miou"] == row["success"] == row["whole"] == pytest.approx(1)


def test_a_wrong_material_in_the_right_place_counts_nothing():
    ice = Instance(noun="llama", box=HERE, attribute="ice")
    [row, _] = scores(([LLAMA, DOG], [ice, DOG])).values()
    assert (row["miou"], row["success"], row["whole"]) == pytest.approx((0.5, 0.5, 0))


def test_too_small_an_overlap_is_no_success_but_counts_in_the_mean():
    wide = Instance(noun="dog", box=(0.0, 0.5, 1.0, 0.9))  # IoU 0.4
    row = scores(([DOG], [wide]))["1"]
    assert (row["miou"], row["success"]) == pytest.approx((0.4, 0))


def test_what_is_not_found_is_zero():
    row = scores(([LLAMA], [DOG]))["1"]
    assert (row["miou"], row["success"], row["whole"]) == (0, 0, 0)


def test_the_nearest_of_several_counts():
    row = scores(([DOG], [Instance(noun="dog", box=HERE), DOG]))["1"]
    assert row["success"] == 1


def test_a_detector_that_tells_no_attributes_judges_places_alone():
    class Blind(Oracle):
        tells_attributes = False

    ice = Instance(noun="llama", box=HERE, attribute="ice")
    assert scores(([LLAMA], [ice]), detector=Blind())["all"]["success"] == 1


def test_no_pictures_have_no_scores():
    assert scores() == {}
    assert scores(([], [DOG])) == {}
