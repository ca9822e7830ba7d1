"""The judge's counts, and objects on plain backgrounds."""

import dataclasses

import numpy as np
import pytest

from gligen.evaluation.recognition import Tally, box_of_difference
from gligen.evaluation.sticker_layouts import sticker_layout
from grounding.geometry import box_iou
from grounding.stickers import PRESETS, render

WORLD = PRESETS["small"]


class KnowingJudge:
    """A judge that has read the request."""

    def __init__(self, instances):
        self.answer = [(i.noun, i.attribute or "plain") for i in instances]

    def names(self, crops):
        assert len(crops) == len(self.answer)
        return self.answer


def test_a_tally_counts_what_the_judge_names():
    layouts = [sticker_layout(WORLD.scene(seed)) for seed in range(20)]
    right, wrong = Tally(), Tally()
    for layout in layouts:
        asked, image = layout.instances, layout.truth()
        right.add(asked, image, KnowingJudge(asked))
        wrong.add(asked, image, KnowingJudge(asked[::-1]))
    assert right.rates()["concept_top1"] == right.rates()["material_top1"] == 1
    assert wrong.concepts == sum(len(x.instances) % 2 for x in layouts)  # the middle one stays
    assert right.joined(wrong).objects == 2 * right.objects
    assert Tally().rates()["concept_top1"] == 0


@pytest.mark.parametrize("background", ["white", "pink", "lilac"])
def test_box_of_difference_finds_a_sticker_on_a_plain_background(background):
    world = dataclasses.replace(PRESETS["full"], backgrounds=(background,))
    overlaps = []
    for seed in range(30):
        scene = world.scene(seed, count=1)
        box = box_of_difference(render(scene).image)
        overlaps.append(box_iou(box, scene.stickers[0].box) if box else 0.0)
    assert np.mean(overlaps) > 0.85


def test_nothing_on_a_plain_background_has_no_box():
    assert box_of_difference(np.full((64, 64, 3), 250, np.uint8)) is None
