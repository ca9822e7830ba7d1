"""The loop, with a hand and an eye that do as they are told."""

from collections.abc import Mapping

import numpy as np
import pytest
from PIL import Image

from grounding.planning.caption import read_caption
from grounding.planning.repair import laid_out
from grounding.prompt import GroundedPrompt
from pipelines.composition.closeup import Closeup
from pipelines.composition.composer import Composer, best_of, fingerprint
from pipelines.composition.verdict import Finding, Verdict

CAPTION = "a dog left of a cat"
GRAPH = read_caption(CAPTION)
PLAN = laid_out(CAPTION, GRAPH)
BLANK = GroundedPrompt()


class Hand:
    """Draws the seed; keeps what it was asked."""

    def __init__(self) -> None:
        self.drawn: list[tuple[GroundedPrompt, int, Image.Image | None]] = []

    def __call__(self, document, seed, source):
        self.drawn.append((document, seed, source))
        return Image.new("RGB", (8, 8), (seed % 256, 0, 0))


class Eye:
    """Finds wrong what it is told to, by the greatest seed that it sees."""

    def __init__(self, wrong: Mapping[int, tuple[str, ...]], extra: tuple[int, ...] = ()) -> None:
        self.wrong, self.extra = wrong, extra

    def __call__(self, image, plan, graph):
        seed = int(image.max())
        findings = [Finding("missing", name, name) for name in self.wrong.get(seed, ())]
        findings += [Finding("extra", "r1", "bus")] * (seed in self.extra)
        score = (2 - len(findings)) / 2
        return Verdict(found=BLANK, findings=tuple(findings), score=score)


def composed(eye: Eye, caption: str = CAPTION, **options):
    hand, graph = Hand(), read_caption(caption)
    composer = Composer(draw=hand, look=eye, **options)
    return list(composer(laid_out(caption, graph), graph)), hand


def actions(steps) -> list[str]:
    return [step.order.action for step in steps]


def test_a_right_picture_is_the_last() -> None:
    steps, hand = composed(Eye({}))
    assert actions(steps) == ["draw"]
    assert hand.drawn == [(PLAN, 0, None)]


def test_what_is_wrong_is_redrawn_in_a_closeup_upon_the_best_picture() -> None:
    steps, hand = composed(Eye({0: ("r2",), 1: ("r2",)}), "a dog left of a cat on a beach")
    assert actions(steps) == ["draw", "redraw", "redraw"]
    assert [step.order.base for step in steps] == [None, 0, 0]
    closeup = Closeup.of(steps[0].order.plan, "r2", (8, 8), "on a beach")
    assert hand.drawn[2] == (closeup.document, 2, closeup.cut(steps[0].image))
    assert steps[2].image == closeup.put(Image.new("RGB", (8, 8), (2, 0, 0)), steps[0].image)
    assert best_of(steps) == 2


def test_the_worst_is_redrawn_first() -> None:
    wrong = {0: ("r3", "r1"), 1: ("r1",)}
    steps, _ = composed(Eye(wrong), "a dog left of two cats")
    assert [step.order.regions for step in steps] == [("r1", "r2", "r3"), ("r3",), ("r1",)]


def test_what_is_all_wrong_or_has_extras_is_drawn_anew() -> None:
    steps, hand = composed(Eye({0: ("r1", "r2")}))
    assert actions(steps) == ["draw", "reseed"]
    assert hand.drawn[1] == (PLAN, 1, None)
    steps, _ = composed(Eye({}, extra=(0,)))
    assert actions(steps) == ["draw", "reseed"]
    steps, _ = composed(Eye({0: ("r1",)}), "a dog")  # alone it is redrawn, not all of it
    assert actions(steps) == ["draw", "redraw"]


def test_what_is_redrawn_in_vain_is_moved_and_what_is_right_stays() -> None:
    wrong = dict.fromkeys(range(20), ("r2",))
    steps, hand = composed(Eye(wrong), pictures=7)
    assert actions(steps) == ["draw", "redraw", "redraw", "move", "reseed", "move", "reseed"]
    moved = hand.drawn[3][0]
    assert moved.regions[0] == PLAN.regions[0]
    assert moved.regions[1].box != PLAN.regions[1].box
    fixed = Composer(draw=Hand(), look=Eye(wrong), moves=False)
    assert [step.order.action for step in fixed(PLAN, GRAPH)][3:] == ["reseed"] * 5


@pytest.mark.parametrize("pictures", [1, 5])
def test_the_budget_is_kept(pictures) -> None:
    steps, _ = composed(Eye(dict.fromkeys(range(99), ("r1",))), pictures=pictures)
    assert len(steps) == pictures
    assert best_of(steps) == 0  # ties go to the first


def test_what_has_no_box_is_not_redrawn() -> None:
    plan = PLAN.replace(regions=(PLAN.regions[0], PLAN.regions[1].replace(box=None)))
    eye = Eye(dict.fromkeys(range(9), ("r2",)))
    steps = list(Composer(draw=Hand(), look=eye, pictures=3, moves=False)(plan, GRAPH))
    assert actions(steps) == ["draw", "reseed", "reseed"]


def test_fingerprints_tell_pictures_apart() -> None:
    one = Image.new("RGB", (4, 2))
    assert fingerprint(one) == fingerprint(Image.fromarray(np.zeros((2, 4, 3), np.uint8)))
    assert fingerprint(one) != fingerprint(Image.new("RGB", (2, 4)))
