"""Objects on plain backgrounds."""

import dataclasses

import numpy as np
import pytest

from gligen.evaluation.extent import box_of_difference
from grounding.geometry import box_iou
from grounding.stickers import PRESETS, render


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
