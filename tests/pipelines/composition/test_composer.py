"""The loop, with a hand and an eye that do as they are told."""

from collections.abc import Mapping

import numpy as np
import pytest
from PIL import Image

from grounding.planning.caption import read_caption
from grounding.planning.repair import laid_out
from grounding.prompt import GroundedPrompt
from pipelines.composition.composer import Budget, Composer, best_of, fingerprint
from pipelines.composition.looker import Verdict
from pipelines.composition.sketch import HALFWAY

CAPTION = "a dog left of a cat"
GRAPH = read_caption(CAPTION)
PLAN = laid_out(CAPTION, GRAPH)
BLANK = GroundedPrompt()


class Hand:
    """Draws the seed; keeps what it was asked."""

    def __init__(self) -> None:
        self.drawn: list[tuple[GroundedPrompt, int, Image.Image | None, float | None]] = []

    def __call__(self, document, seed, source, strength):
        self.drawn.append((document, seed, source, strength))
        return Image.new("RGB", (8, 8), (seed % 256, 0, 0))


class Eye:
    """Finds wrong what it is told to, by the seed that it sees."""

    def __init__(self, wrong: Mapping[int, tuple[str, ...]], extra: tuple[int, ...] = ()) -> None:
        self.wrong, self.extra = wrong, extra

    def __call__(self, image, plan, graph):
        seed = int(image[0, 0, 0])
        wrong = self.wrong.get(seed, ())
        extra = int(seed in self.extra)
        findings = (*(f"missing: {name}" for name in wrong), *(["extra: bus"] * extra))
        score = (2 - len(wrong) - extra) / 2
        return Verdict(found=BLANK, wrong=wrong, extra=extra, findings=findings, score=score)


def composed(eye: Eye, caption: str = CAPTION, **options):
    hand, graph = Hand(), read_caption(caption)
    composer = Composer(draw=hand, look=eye, budget=Budget(**options))
    return list(composer(laid_out(caption, graph), graph)), hand


def actions(steps) -> list[str]:
    return [step.order.action for step in steps]


def test_a_right_picture_is_the_last() -> None:
    steps, hand = composed(Eye({}))
    assert actions(steps) == ["draw"]
    assert hand.drawn == [(PLAN, 0, None, None)]


def test_what_is_wrong_is_redrawn_upon_the_best_picture() -> None:
    steps, hand = composed(Eye({0: ("r2",), 1: ("r2",)}))
    assert actions(steps) == ["draw", "redraw", "redraw"]
    document, seed, source, _ = hand.drawn[2]
    assert [region.id for region in document.regions] == ["r2"]
    assert (seed, source) == (2, steps[0].image)
    assert steps[2].order.base == 0
    assert best_of(steps) == 2


def test_what_is_all_wrong_or_has_extras_is_drawn_anew() -> None:
    steps, hand = composed(Eye({0: ("r1", "r2")}))
    assert actions(steps) == ["draw", "reseed"]
    assert hand.drawn[1] == (PLAN, 1, None, None)
    steps, _ = composed(Eye({}, extra=(0,)))
    assert actions(steps) == ["draw", "reseed"]


def test_what_is_of_some_material_and_wrong_is_drawn_plain_and_drawn_over() -> None:
    caption = "an ice dog left of two lava cats"
    steps, hand = composed(Eye({0: ("r1",)}), caption)
    assert actions(steps) == ["draw", "sketch"]
    plain, over = hand.drawn[1:]
    assert plain[0].prompt == "a dog left of two lava cats"
    assert [region.phrase for region in plain[0].regions] == ["dog", "lava cat", "lava cat"]
    assert plain[1:] == (1, None, None)
    assert over[0] == steps[0].order.plan
    assert over[1:] == (1, Image.new("RGB", (8, 8), (1, 0, 0)), HALFWAY)
    both, hand = composed(Eye(dict.fromkeys(range(4), ("r2", "r3"))), caption, rounds=2, pictures=4)
    assert actions(both) == ["draw", "sketch", "sketch", "move"]
    assert hand.drawn[1][0].prompt == "an ice dog left of two cats"


def test_what_is_redrawn_in_vain_is_moved_and_what_is_right_stays() -> None:
    wrong = dict.fromkeys(range(20), ("r2",))
    steps, hand = composed(Eye(wrong), rounds=3, tries=2, pictures=20)
    assert actions(steps) == ["draw", "redraw", "redraw", "move", "move", "reseed", "reseed"]
    moved = hand.drawn[3][0]
    assert moved.regions[0] == PLAN.regions[0]
    assert moved.regions[1].box != PLAN.regions[1].box
    fixed = Composer(
        draw=Hand(), look=Eye(wrong), budget=Budget(rounds=3, tries=2, pictures=20), moves=False
    )
    assert "move" not in actions(fixed(PLAN, GRAPH))


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"rounds": 0}, 1),
        ({"pictures": 1}, 1),
        ({"rounds": 2, "tries": 3, "pictures": 100}, 7),
        ({"rounds": 100, "tries": 2, "pictures": 5}, 5),
    ],
)
def test_the_budget_is_kept(options, count) -> None:
    steps, _ = composed(Eye(dict.fromkeys(range(99), ("r1",))), **options)
    assert len(steps) == count
    assert best_of(steps) == 0  # ties go to the first


def test_fingerprints_tell_pictures_apart() -> None:
    one = Image.new("RGB", (4, 2))
    assert fingerprint(one) == fingerprint(Image.fromarray(np.zeros((2, 4, 3), np.uint8)))
    assert fingerprint(one) != fingerprint(Image.new("RGB", (2, 4)))
