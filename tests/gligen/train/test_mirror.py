"""Mirrored documents."""

import pytest

from gligen.train.mirror import mirrored, mirrored_words
from grounding.joints import JOINTS
from grounding.prompt import GroundedPrompt, Keypoint, Region


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("a cat left of a dog", "a cat right of a dog"),
        ("Left, LEFT, right!", "Right, RIGHT, left!"),
        ("leftovers are bright, copyright", "leftovers are bright, copyright"),
        ("left-hand side", "right-hand side"),
        ("", ""),
    ],
)
def test_words_change_sides(text, other):
    assert mirrored_words(text) == other
    assert mirrored_words(other) == text


def test_boxes_and_phrases_change_sides():
    document = GroundedPrompt(
        prompt="a cup at the left", regions=(Region(phrase="left cup", box=(0.1, 0.2, 0.3, 0.6)),)
    )
    flipped = mirrored(document)
    assert flipped.prompt == "a cup at the right"
    assert flipped.regions[0].phrase == "right cup"
    assert flipped.regions[0].box == pytest.approx((0.7, 0.2, 0.9, 0.6))
    again = mirrored(flipped).regions[0].box
    assert again == pytest.approx(document.regions[0].box)


def test_named_joints_change_sides():
    joints = (Keypoint(xy=(0.2, 0.5), name="left_wrist"), Keypoint(xy=(0.5, 0.1), name="nose"))
    [region] = mirrored(GroundedPrompt(regions=(Region(keypoints=joints),))).regions
    assert [joint.name for joint in region.keypoints] == ["right_wrist", "nose"]
    assert region.keypoints[0].xy == pytest.approx((0.8, 0.5))


def test_nameless_joints_keep_cocos_order():
    joints = tuple(Keypoint(xy=(i / 20, 0.5), visibility=i % 3) for i in range(len(JOINTS)))
    [region] = mirrored(GroundedPrompt(regions=(Region(keypoints=joints),))).regions
    left, right = JOINTS.index("left_ankle"), JOINTS.index("right_ankle")
    assert region.keypoints[left].xy == pytest.approx((1 - right / 20, 0.5))
    assert region.keypoints[left].visibility == right % 3
    assert region.keypoints[0].xy == pytest.approx((1.0, 0.5))
