"""The second eye: what is in the boxes, against their phrases."""

import numpy as np
import pytest

from grounding.planning.caption import read_caption
from grounding.prompt import GroundedPrompt, Region
from grounding.stickers.scene import render
from grounding.stickers.world import PRESETS
from pipelines.composition.likeness import SecondLook, doubt
from pipelines.composition.looker import Verdict
from pipelines.retrieval.phrase_embedder import open_phrase_embedder

RIGHT = Verdict(found=GroundedPrompt(), wrong=(), extra=0, findings=(), score=1.08)
PLAN = GroundedPrompt(
    regions=(
        Region(phrase="lava llama", box=(0.0, 0.3, 0.4, 0.7)),
        Region(phrase="dog", box=(0.6, 0.3, 1.0, 0.7)),
    )
)


def test_what_is_unlike_its_phrase_is_wrong():
    verdict = doubt(RIGHT, PLAN, {"r1": 0.9, "r2": 0.31}, 0.5)
    assert verdict.wrong == ("r2",)
    assert verdict.findings == ("unlike: r2 dog, 0.31",)
    assert verdict.score == pytest.approx(1.08 - (0.1 + 0.69) / 2)


def test_both_eyes_must_agree():
    assert doubt(RIGHT, PLAN, {"r1": 0.9, "r2": 0.8}, 0.5).is_right
    missing = Verdict(
        found=GroundedPrompt(), wrong=("r2",), extra=0, findings=("missing: r2 dog",), score=0.5
    )
    verdict = doubt(missing, PLAN, {"r1": 0.2, "r2": 0.2}, 0.5)
    assert verdict.wrong == ("r2", "r1")
    assert doubt(missing, PLAN, {}, 0.5) == missing
    assert verdict.score == pytest.approx(0.5 + (0.2 - 1) / 2 + 0.2 / 2)


def test_the_embedded_eye_tells_things_apart():
    scenes = (PRESETS["small"].scene(seed, "held-out", count=1) for seed in range(40))
    scene = next(one for one in scenes if one.stickers[0].material is not None)
    [sticker] = scene.stickers
    look = SecondLook(look=lambda *_: RIGHT, embedder=open_phrase_embedder())
    image = np.asarray(render(scene).image)

    def seen(phrase):
        plan = GroundedPrompt(regions=(Region(phrase=phrase, box=sticker.box),))
        return look(image, plan, read_caption(f"a {phrase}"))

    assert seen(sticker.phrase).is_right
    other = "stone house" if "house" not in sticker.phrase else "stone dog"
    assert seen(other).wrong == ("r1",)
    assert seen("dog").is_right  # plain things are left to the first eye
