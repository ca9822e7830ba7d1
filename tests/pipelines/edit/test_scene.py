"""Scenes: what a name means, and what makes two scenes the same."""

import numpy as np
import pytest
from PIL import Image

from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt, Region
from pipelines.edit.scene import Scene, pixel_digest
from tests.pipelines.edit.stand_ins import picture, scene


def test_the_canvas_is_the_picture():
    made = Scene.of(Image.new("L", (30, 20), 7))
    assert made.document.canvas is not None
    assert made.document.canvas.size == made.size == (30, 20)
    with pytest.raises(ValueError, match="read-only"):
        made.picture[0] = 0


def test_the_picture_is_a_copy():
    pixels = picture()
    made = Scene.of(pixels)
    pixels[:] = 0
    assert made.picture.any()


def test_a_name_is_an_id_or_a_phrase():
    made = scene()
    assert [region.id for region in made.chosen("r2")] == ["r2"]
    assert [region.id for region in made.chosen(" Llama")] == ["r1"]
    two = made.changed(made.document.replace(regions=[Region(phrase="dog"), Region(phrase="dog")]))
    with pytest.raises(PromptError, match=r'2 regions are called "dog": name one of r1 \(dog\)'):
        two.chosen("dog")
    with pytest.raises(PromptError, match='no region is called "cow": name one of'):
        made.chosen("cow")
    with pytest.raises(PromptError, match="nothing is selected"):
        made.chosen(None)
    with pytest.raises(PromptError, match="the document has no regions yet"):
        Scene.of(picture()).chosen("dog")


def test_what_is_gone_is_selected_no_more():
    made = scene().changed(scene().document, selected=("r1", "r2"))
    assert [region.id for region in made.chosen(None)] == ["r1", "r2"]
    assert made.changed(GroundedPrompt(regions=[Region(id="r2")])).selected == ("r2",)


def test_another_picture_is_in_no_file():
    made = Scene.of(picture(), GroundedPrompt(image="llama.png", files={"image": "llama.png"}))
    assert made.changed(made.document, selected=()).document.image == "llama.png"
    other = made.changed(made.document, picture())
    assert (other.document.image, other.document.files) == (None, {})


def test_digests_tell_scenes_apart():
    made = scene()
    assert made.digest() == scene().digest()
    assert made.changed(made.document, selected=("r1",)).digest() != made.digest()
    assert pixel_digest(np.zeros((2, 3, 3), np.uint8)) != pixel_digest(
        np.zeros((3, 2, 3), np.uint8)
    )


def test_other_arrays_are_refused():
    with pytest.raises(PromptError, match=r"uint8 \[height, width, 3\]; got float64 \[4, 4\]"):
        Scene.of(np.zeros((4, 4)))
