"""Regions: documents stay true to a picture that changes."""

import numpy as np
import pytest

from grounding.errors import PromptError
from grounding.masks import region_bitmap
from grounding.prompt import GroundedPrompt, Region
from pipelines.edit import regions
from tests.pipelines.edit.stand_ins import document


def test_what_is_gone_is_pointed_at_by_nobody():
    said = {
        "role": "user",
        "content": [
            {"type": "region", "ids": ["r1", "r2"]},
            {"type": "text", "text": "Which is warmer?"},
            {"type": "region", "ids": ["r1"]},
        ],
    }
    full = GroundedPrompt.model_validate({**document().to_dict(), "messages": [said]})
    other = full.region("r2").replace(reference={"region": "r1"})
    left = regions.without(regions.with_region(full, other), "r1")
    assert [region.id for region in left.regions] == ["r2"]
    assert left.regions[0].reference is None
    assert left.relations == ()
    first, *rest = left.messages[0].content
    assert first.ids == ("r2",)
    assert [content.text for content in rest] == ["llama", "Which is warmer?", "llama"]


def test_what_is_covered_lies_behind():
    area = np.zeros((48, 64), bool)
    area[12:20, 8:20] = True
    new = regions.uncovered(document(), area, "r2")
    seen = region_bitmap(new.region("r1"), (64, 48))
    assert seen is not None
    assert not (seen & area).any()
    assert seen.sum() == 8 * 12
    assert new.region("r1").box == (8 / 64, 20 / 48, 20 / 64, 28 / 48)
    assert (new.region("r1").z, new.region("r2").z) == (0, 1)
    hidden = regions.uncovered(document(), np.ones((48, 64), bool), "r2").region("r1")
    assert hidden.mask is None
    assert hidden.box == (8 / 64, 12 / 48, 20 / 64, 28 / 48)
    beside = np.zeros((48, 64), bool)
    beside[0, 0] = True
    assert regions.uncovered(document(), beside, "r2") == document()


def test_the_prompt_is_said_anew():
    before = document().replace(prompt="a llama, a dog and a red tree on a beach")
    around = regions.setting(before)
    assert around == regions.Setting(things=("red tree",), place="on a beach")
    after = regions.without(before, "r1")
    assert regions.captioned(after, around).prompt == "a dog and a red tree on a beach"
    nothing = GroundedPrompt()
    assert regions.captioned(nothing, regions.setting(nothing)).prompt == ""
    own = regions.setting(GroundedPrompt(prompt="a dog", background="at night"))
    assert own.place == "at night"


def test_relations_that_hold_no_more_are_left_out():
    around = regions.setting(document())
    assert regions.captioned(document(), around).relations == document().relations
    far = document().region("r1").replace(mask=None, box=(0.9, 0.2, 1.0, 0.4))
    moved = regions.with_region(document(), far)
    assert regions.captioned(moved, around).relations == ()
    liked = moved.replace(relations=[("r1", "likes", "r2")])
    assert regions.captioned(liked, around).relations == liked.relations


def test_ids_are_free_and_outlines_not_empty():
    assert regions.free_id(document()) == "r3"
    assert regions.free_id(GroundedPrompt(regions=[Region(id="r2")])) == "r1"
    area = np.zeros((4, 4), bool)
    area[1:3, 1:3] = True
    drawn = Region(id="r1", points=[{"xy": [0.1, 0.1]}], phrase="llama")
    assert regions.outlined(drawn, area) == Region(
        id="r1", phrase="llama", mask=regions.bitmap_to_rle(area), box=(0.25, 0.25, 0.75, 0.75)
    )
    with pytest.raises(PromptError, match=r"nothing of r1 \(llama\) would be left"):
        regions.outlined(drawn, np.zeros((4, 4), bool))
