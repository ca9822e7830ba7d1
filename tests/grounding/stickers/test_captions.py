"""Captions name every object, and say who is where only when it is so."""

import re

import numpy as np
import pytest

from grounding.stickers import PRESETS
from grounding.stickers.captions import caption, relation
from grounding.stickers.scene import Sticker
from grounding.stickers.vocabulary import article

SIDES = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}


def sticker(concept, box, material=None):
    return Sticker(concept=concept, material=material, style="flat", box=box)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("llama", "a llama"),
        ("ice fox", "an ice fox"),
        ("owl", "an owl"),
        ("unicorn", "a unicorn"),
    ],
)
def test_article(words, said):
    assert article(words) == said


def test_every_phrase_is_in_the_caption():
    for seed in range(200):
        scene = PRESETS["full"].scene(seed)
        for one in scene.stickers:
            assert article(one.phrase) in scene.caption


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0.0, 0.4, 0.2, 0.6), "left of"),
        ((0.8, 0.4, 1.0, 0.6), "right of"),
        ((0.4, 0.0, 0.6, 0.2), "above"),
        ((0.4, 0.8, 0.6, 1.0), "below"),
        ((0.4, 0.4, 0.7, 0.7), None),
    ],
)
def test_relation(box, expected):
    assert relation(sticker("fox", box), sticker("owl", (0.4, 0.4, 0.6, 0.6))) == expected


def test_relations_in_captions_are_true():
    said = 0
    for seed in range(300):
        scene = PRESETS["small"].scene(seed, count=2)
        places = {article(s.phrase): s.box for s in scene.stickers}
        for words, (axis, sign) in SIDES.items():
            match = re.match(
                rf"(an? [a-z ]+?) {words} (an? [a-z ]+?)( (on|in|at) .*)?$", scene.caption
            )
            if match:
                said += 1
                a, b = places[match[1]], places[match[2]]
                assert sign * ((a[axis] + a[axis + 2]) - (b[axis] + b[axis + 2])) > 0
    assert said > 80


def test_the_wording_depends_on_the_generator_alone():
    stickers = [sticker("fox", (0.0, 0.0, 0.4, 0.4)), sticker("owl", (0.5, 0.5, 1.0, 1.0), "ice")]
    words = [caption(stickers, "night", np.random.default_rng(3)) for _ in range(2)]
    assert words[0] == words[1]
    assert "at night" in words[0] or words[0].count(" ") < 9
