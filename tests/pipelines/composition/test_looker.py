"""Verdicts: what was found, against where it was to be."""

import numpy as np
import pytest

from grounding.planning.caption import read_caption
from grounding.prompt import GroundedPrompt, Region
from grounding.stickers.scene import render
from grounding.stickers.world import PRESETS
from pipelines.compose import open_eye
from pipelines.composition.looker import judge

CAPTION = "a lava llama left of a dog, without trees"
GRAPH = read_caption(CAPTION)
LEFT, RIGHT, ABOVE = (0.0, 0.3, 0.4, 0.7), (0.6, 0.3, 1.0, 0.7), (0.3, 0.0, 0.6, 0.25)


def document(*regions: tuple) -> GroundedPrompt:
    return GroundedPrompt(
        regions=tuple(Region(phrase=p, box=b, score=s[0] if s else None) for p, b, *s in regions)
    )


PLAN = document(("lava llama", LEFT), ("dog", RIGHT))


def test_a_picture_as_planned_is_right() -> None:
    verdict = judge(PLAN, document(("lava llama", LEFT, 0.9), ("dog", RIGHT, 0.8)), GRAPH)
    assert verdict.is_right
    assert (verdict.wrong, verdict.extra) == ((), ())
    assert verdict.score == pytest.approx(1 + 0.1 * 0.85)


@pytest.mark.parametrize(
    ("found", "wrong", "extra", "findings"),
    [
        ([("lava llama", LEFT)], ("r2",), 0, ["missing: r2 dog"]),
        (
            [("ice llama", LEFT), ("dog", RIGHT)],
            ("r1",),
            0,
            ["wrong: r1 lava llama is ice llama"],
        ),
        (
            [("lava llama", LEFT), ("dog", RIGHT), ("tree", ABOVE)],
            (),
            1,
            ["extra: tree"],
        ),
        (
            [("lava llama", RIGHT), ("dog", LEFT)],
            ("r1", "r2"),
            0,
            [
                "misplaced: r1 lava llama, IoU 0.00",
                "misplaced: r2 dog, IoU 0.00",
                "not so: r1 lava llama left of r2 dog",
            ],
        ),
        ([], ("r1", "r2"), 0, ["missing: r1 lava llama", "missing: r2 dog"]),
    ],
)
def test_what_is_wrong_with_a_picture(found, wrong, extra, findings) -> None:
    verdict = judge(PLAN, document(*found), GRAPH)
    assert (verdict.wrong, len(verdict.extra)) == (wrong, extra)
    assert list(verdict.told) == findings
    assert verdict.score < 1


def test_two_of_a_kind_are_two_regions() -> None:
    plan = document(("dog", LEFT), ("dog", RIGHT))
    verdict = judge(plan, document(("dog", RIGHT, 0.9)), read_caption("two dogs"))
    assert verdict.wrong == ("r1",)


def test_what_lies_within_a_thing_that_is_there_or_is_not_certain_is_no_extra() -> None:
    found = [("lava llama", LEFT, 0.9), ("dog", RIGHT, 0.9)]
    part = ("star", (0.1, 0.4, 0.3, 0.6), 0.9)
    doubtful = ("tree", ABOVE, 0.1)
    assert judge(PLAN, document(*found, part, doubtful), GRAPH).is_right
    assert judge(PLAN, document(*found, ("tree", ABOVE, 0.9)), GRAPH).extra == ("r3",)


def test_more_llamas_are_welcome_where_llamas_are_asked_for() -> None:
    plan = document(("llama", LEFT), ("llama", RIGHT))
    found = document(("llama", LEFT), ("llama", RIGHT), ("llama", ABOVE))
    assert judge(plan, found, read_caption("llamas")).is_right
    assert judge(plan, found, read_caption("two llamas")).extra == ("r3",)


def test_the_embedded_model_sees_what_a_rendered_scene_shows() -> None:
    eye = open_eye({})
    scene = PRESETS["small"].scene(3, "train", 2)
    plan = document(*((sticker.phrase, sticker.box) for sticker in scene.stickers))
    graph = read_caption(scene.caption)
    verdict = eye(render(scene).image, plan, graph)
    assert verdict.wrong == ()
    assert verdict.extra == ()
    nothing = eye(np.full((128, 128, 3), 255, np.uint8), plan, graph)
    assert set(nothing.wrong) == {"r1", "r2"}
