"""Mirrored documents: boxes and joints change sides, and so do "left" and "right" in the words."""

import re

from grounding.joints import JOINTS
from grounding.prompt import GroundedPrompt, Keypoint, Region

__all__ = ["mirrored", "mirrored_words"]

_SIDES = {"left": "right", "right": "left"}
_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)
_JOINT_SIDES = {
    name: name.replace(side, other, 1)
    for name in JOINTS
    for side, other in _SIDES.items()
    if name.startswith(side)
}


def mirrored_words(text: str) -> str:
    """Swap "left" and "right", whole words alone, in the letters they are written in."""

    def swapped(found: re.Match[str]) -> str:
        word = found[0]
        other = _SIDES[word.lower()]
        if word.isupper():
            return other.upper()
        return other.capitalize() if word[0].isupper() else other

    return _SIDE.sub(swapped, text)


def mirrored(document: GroundedPrompt) -> GroundedPrompt:
    """The document of the mirrored picture: its words, and its regions' boxes and joints.

    A person's left hand is, mirrored, a right one. Joints without names keep COCO's order.
    """
    return document.replace(
        prompt=mirrored_words(document.prompt),
        regions=[_region(region) for region in document.regions],
    )


def _region(region: Region) -> Region:
    changes = {}
    if region.box is not None:
        x0, y0, x1, y1 = region.box
        changes["box"] = (1 - x1, y0, 1 - x0, y1)
    if region.keypoints:
        changes["keypoints"] = _joints(region.keypoints)
    return region.replace(phrase=mirrored_words(region.phrase), **changes)


def _joints(joints: tuple[Keypoint, ...]) -> list[Keypoint]:
    moved = [joint.replace(xy=(1 - joint.xy[0], joint.xy[1])) for joint in joints]
    if all(joint.name is None for joint in joints) and len(joints) == len(JOINTS):
        return [moved[JOINTS.index(_JOINT_SIDES.get(name, name))] for name in JOINTS]
    names = [
        None if joint.name is None else _JOINT_SIDES.get(joint.name, joint.name) for joint in joints
    ]
    return [joint.replace(name=name) for joint, name in zip(moved, names, strict=True)]
