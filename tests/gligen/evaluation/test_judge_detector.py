"""The judge, shown proposals."""

import numpy as np
import pytest
import torch

from gligen.evaluation.detection import certain
from gligen.evaluation.judge_detector import JudgeDetector

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)


class ColourJudge:
    """Names a crop by its colours: red is a crab, green a frog; dark ones are of stone."""

    concepts, materials = ("crab", "frog"), ("plain", "stone")

    def __call__(self, crops):
        mean = crops.mean((2, 3)) * 9
        dark = -mean.sum(1)
        return mean[:, :2], torch.stack([torch.zeros_like(dark), dark], 1)


def picture():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :40, 0], image[:, 40:] = 255, (200, 255, 255)
    return image


def detector(*proposals, **options):
    return JudgeDetector(ColourJudge(), lambda image: list(proposals), **options)


def test_proposals_are_named_and_weighed():
    view = detector((LEFT, 0.8), (RIGHT, 0.5)).view(picture())
    [crab, frog] = view.find(["crab", "frog"])
    assert (crab.text, crab.box, frog.text, frog.box) == ("crab", LEFT, "frog", RIGHT)
    assert crab.score == pytest.approx(0.8, abs=1e-3)
    assert frog.score < 0.5
    assert [d.text for d in view.find(["frog"])] == ["frog"]


def test_of_proposals_that_overlap_the_surest_is_named():
    nearly = (0.0, 0.0, 0.55, 1.0)
    seen = detector((nearly, 0.6), (LEFT, 0.8), threshold=0.1)
    assert [d.box for d in certain(seen.view(picture()), seen, "crab")] == [LEFT]


def test_materials_are_told_among_the_choices():
    view = detector((LEFT, 0.8)).view(picture())
    assert view.attribute(LEFT, "crab", ("stone", "ice")) == "stone"
    assert view.attribute(LEFT, "crab", ("ice",)) is None
    assert view.attribute(RIGHT, "frog", ("stone",)) is None


def test_it_knows_what_the_judge_knows_and_sees_nothing_where_nothing_is():
    seen = detector()
    assert seen.knows("crab")
    assert not seen.knows("zebra")
    assert seen.view(picture()).find(["crab", "frog"]) == []
