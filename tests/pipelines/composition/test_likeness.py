"""The second eye: what is in the boxes, against their phrases."""

import numpy as np
import pytest

from grounding.planning.caption import read_caption
from grounding.prompt import GroundedPrompt, Region
from grounding.stickers.scene import render
from grounding.stickers.world import PRESETS
from pipelines.composition.likeness import SecondLook, second_thought
from pipelines.composition.verdict import Finding, Verdict
from pipelines.retrieval.phrase_embedder import open_phrase_embedder

RIGHT = Verdict(found=GroundedPrompt(), score=1.08)
PLAN = GroundedPrompt(
    regions=(
        Region(phrase="lava llama", box=(0.0, 0.3, 0.4, 0.7)),
        Region(phrase="dog", box=(0.6, 0.3, 1.0, 0.7)),
    )
)


def thought(verdict: Verdict, likeness: dict[str, float], least: float = 0.5) -> Verdict:
    return second_thought(verdict, PLAN, lambda region: likeness.get(region.phrase), least)


def test_what_is_unlike_its_phrase_is_wrong_the_worst_first():
    verdict = thought(RIGHT, {"lava llama": 0.4, "dog": 0.31})
    assert verdict.wrong == ("r2", "r1")
    assert verdict.told == ("unlike: r2 dog, 0.31", "unlike: r1 lava llama, 0.40")
    assert verdict.score == pytest.approx((0.4 + 0.31) / 2)
    assert thought(RIGHT, {"lava llama": 0.9, "dog": 0.8}).is_right


def test_the_first_eye_is_heard_where_the_second_knows_nothing():
    missing = Finding("missing", "r2", "missing: r2 dog")
    beside = Finding("relation", "", "not so: r1 lava llama left of r2 dog")
    verdict = Verdict(found=GroundedPrompt(), findings=(missing, beside), score=0.5)
    assert thought(verdict, {"lava llama": 0.9, "dog": 0.8}).is_right
    heard = thought(verdict, {"lava llama": 0.9})
    assert heard.findings == (missing, beside)
    assert heard.score == pytest.approx(0.9 / 2)


def test_an_extra_counts_if_it_is_like_its_name():
    found = GroundedPrompt(regions=(Region(phrase="owl", box=(0.4, 0, 0.6, 0.2)),))
    extra = Finding("extra", "r1", "extra: owl")
    verdict = Verdict(found=found, findings=(extra,), score=0.5)
    alike = {"lava llama": 0.9, "dog": 0.8}
    assert thought(verdict, alike | {"owl": 0.4}).is_right
    heard = thought(verdict, alike | {"owl": 0.6})
    assert heard.extra == ("r1",)
    assert heard.score == pytest.approx((0.9 + 0.8 - 1) / 2)


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
    assert seen("dog" if "dog" not in sticker.phrase else "house").wrong == ("r1",)
