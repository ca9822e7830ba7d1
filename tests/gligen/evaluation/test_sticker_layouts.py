"""Scenes as requests."""

import numpy as np

from gligen.evaluation.extent import box_of_difference
from gligen.evaluation.prompt_tasks import PROMPT_TASKS, prompt_task
from gligen.evaluation.sticker_layouts import held_out_layouts, plain_layouts, sticker_layout
from grounding.geometry import box_iou
from grounding.stickers import PRESETS, render
from grounding.stickers.captions import direction
from grounding.stickers.world import HELD_OUT_PAIRS, is_held_out_layout

WORLD = PRESETS["small"]
PROMPTS = 9


def task(name, prompts=PROMPTS):
    return list(prompt_task(name, WORLD, prompts).layouts())


def test_requests_hold_caption_phrases_and_boxes():
    scene = WORLD.scene(3)
    layout = sticker_layout(scene)
    assert layout.document.prompt == scene.caption
    assert [r.phrase for r in layout.document.regions] == [s.phrase for s in scene.stickers]
    assert [r.box for r in layout.document.regions] == [s.box for s in scene.stickers]
    assert [(i.noun, i.attribute) for i in layout.instances] == [
        (s.concept, s.material) for s in scene.stickers
    ]
    assert layout.truth is not None
    assert np.array_equal(layout.truth(), render(scene).image)


def test_half_of_the_scenes_are_of_each_kind():
    layouts = held_out_layouts(WORLD, 7)
    groups = [layout.group for layout in layouts.layouts()]
    assert groups == ["held-out"] * 4 + ["held-out pairs"] * 3
    assert layouts.count == 7
    assert len({layout.name for layout in layouts.layouts()}) == 7


def test_plain_layouts_are_one_object_on_a_plain_background():
    plain = list(plain_layouts(WORLD, 4).layouts())
    assert [len(layout.instances) for layout in plain] == [1] * 4
    for layout in plain:
        box = box_of_difference(layout.truth())
        assert box_iou(box, layout.instances[0].box) > 0.6


def test_every_task_gives_the_same_requests_again_with_names_of_their_own():
    for name in PROMPT_TASKS:
        first, again = task(name), task(name)
        assert [x.document for x in first] == [x.document for x in again]
        assert len({x.name for x in first}) == len({x.document.digest() for x in first}) == PROMPTS
        assert {x.group for x in first} == {name}
        assert all(x.claim is not None for x in first)


def test_layouts_of_tasks_are_none_that_training_had():
    for name in PROMPT_TASKS:
        for layout in task(name):
            boxes = [instance.box for instance in layout.instances]
            assert len(boxes) == 1 or is_held_out_layout(boxes)


def test_counting_asks_for_one_to_four_of_one_object():
    layouts = task("counting")
    assert [len(x.instances) for x in layouts] == [1, 2, 3, 4, 1, 2, 3, 4, 1]
    for layout in layouts:
        assert {i.noun for i in layout.instances} == {layout.claim.noun}
        assert layout.claim.number == len(layout.instances)
        assert {i.attribute for i in layout.instances} == {None}


def test_attributes_are_two_that_differ_of_pairs_from_training():
    for layout in task("attribute"):
        (first, one), (second, other) = layout.claim.pairs
        assert first != second
        assert one != other
        assert not {(first, one), (second, other)} & HELD_OUT_PAIRS


def test_places_are_said_and_true():
    for layout in task("spatial"):
        subject, other = layout.instances
        claim = layout.claim
        assert (claim.subject, claim.other) == (subject.noun, other.noun)
        assert claim.side == direction(subject.box, other.box)
        assert f"{subject.noun} {claim.side} " in layout.document.prompt


def test_what_must_not_be_there_is_named_by_the_negative_prompt_alone():
    for layout in task("negation"):
        absent = layout.claim.noun
        assert absent in layout.document.negative_prompt
        assert absent not in layout.document.prompt.split()
        assert absent not in [i.noun for i in layout.instances]
        assert set(layout.claim.present) == {i.noun for i in layout.instances}
