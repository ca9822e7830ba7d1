"""A window around a region: what is drawn in it, and how it comes back."""

import numpy as np
import pytest
from PIL import Image

from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt, Region
from pipelines.composition.closeup import Closeup

SMALL = Region(id="a", phrase="ice fox", box=(0.5, 0.25, 0.75, 0.5))
CORNER = Region(id="b", phrase="a dog", box=(0.0, 0.9, 0.2, 1.0))
LARGE = Region(id="c", phrase="owl", box=(0.1, 0.2, 0.8, 0.9))
PLAN = GroundedPrompt(prompt="an ice fox, a dog and an owl", regions=(SMALL, CORNER, LARGE))
SIZE = (64, 32)


def test_the_region_is_seen_at_twice_its_size_where_there_is_room():
    [region] = Closeup.of(PLAN, "a", SIZE).document.regions
    assert region.box == (0.25, 0.25, 0.75, 0.75)
    assert Closeup.of(PLAN, "c", SIZE).document.regions[0].box == LARGE.box


def test_the_region_is_drawn_alone_in_the_scene():
    assert Closeup.of(PLAN, "a", SIZE, "on a beach").document.prompt == "an ice fox on a beach"
    assert Closeup.of(PLAN, "b", SIZE).document.prompt == "a dog"


def test_only_the_box_changes():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    picture, closeup = Image.fromarray(pixels), Closeup.of(PLAN, "a", SIZE)
    assert closeup.cut(picture).size == SIZE
    new = np.asarray(closeup.put(Image.new("RGB", SIZE, (255, 0, 0)), picture))
    assert (new[8:16, 32:48] == (255, 0, 0)).all()
    outside = np.ones((32, 64), bool)
    outside[8:16, 32:48] = False
    assert (new[outside] == pixels[outside]).all()


def test_a_region_without_a_box_is_refused():
    plan = PLAN.replace(regions=(SMALL.replace(box=None),))
    with pytest.raises(PromptError, match="'a' has no box"):
        Closeup.of(plan, "a", SIZE)
    with pytest.raises(PromptError, match="z"):
        Closeup.of(PLAN, "z", SIZE)
