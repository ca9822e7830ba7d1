"""Holes are filled from what is around them, and take nothing from their neighbours."""

import numpy as np
import pytest

from grounding.errors import PromptError
from grounding.masks import bitmap_to_rle, region_bitmap
from pipelines.edit.hole import Filling, hole
from pipelines.edit.regions import with_region
from tests.pipelines.edit.stand_ins import BEACH, scene, studio


def llama() -> np.ndarray:
    area = region_bitmap(scene().document.region("r1"), (64, 48))
    assert area is not None
    return area


def test_a_hole_has_a_rim_but_for_its_neighbours():
    free = hole(llama(), scene(), "r1")
    assert free[llama()].all()
    assert free.sum() > llama().sum()
    wall = np.zeros((48, 64), bool)
    wall[:, 20:24] = True
    beside = scene().document.region("r2").replace(mask=bitmap_to_rle(wall))
    held = hole(llama(), scene().changed(with_region(scene().document, beside)), "r1")
    assert not (held & wall).any()
    assert held[:, 7].any()


@pytest.mark.parametrize(
    ("by", "modality", "said"),
    [("telea", "text", "(Telea)"), ("auto", None, "(Telea): the model redraws no parts")],
)
def test_a_plain_ground_comes_back(by, modality, said):
    free = hole(llama(), scene(), "r1")
    filled, how = Filling(by=by)(scene(), "r1", llama(), studio(modality=modality))
    assert f"filled from its edge {said}" in how
    assert (filled[~free] == scene().picture[~free]).all()
    assert np.abs(filled[free].astype(int) - BEACH).max() <= 4  # OpenCV's rounding


def test_a_model_that_is_told_nothing_draws_nothing():
    bare = scene().changed(scene().document.replace(prompt="a llama and a dog"))
    for models, how in (
        (studio(), "filled from its edge (Telea): nothing says what lies behind"),
        (studio(inpaints=True), "drawn by the model"),
    ):
        assert Filling()(bare, "r1", llama(), models)[1] == how
    assert Filling(by="model")(bare, "r1", llama(), studio())[1] == "drawn by the model"


def test_the_model_draws_what_lies_behind():
    free = hole(llama(), scene(), "r1")
    models = studio()
    filled, how = Filling(seed=4)(scene(), "r1", llama(), models)
    assert how == "drawn by the model"
    assert (filled[~free] == scene().picture[~free]).all()
    assert np.abs(filled[free].astype(int) - BEACH).max() <= 1
    [(asked, wishes)] = models.generator.asked
    assert (asked.prompt, asked.regions[0].phrase) == ("on a beach", "")
    assert wishes["seed"] == 4


def test_what_is_drawn_takes_the_tones_around():
    free = hole(llama(), scene(), "r1")
    models = studio()
    models.generator.ground = (200, 200, 200)
    filled, _ = Filling()(scene(), "r1", llama(), models)
    assert np.abs(filled[free].astype(int) - BEACH).max() <= 2


def test_what_a_mask_has_missed_goes_too():
    half = llama()
    half[24:] = False
    filled, _ = Filling()(scene(), "r1", half, studio())
    assert np.abs(filled[12:28, 8:20].astype(int) - BEACH).max() <= 4
    kept, _ = Filling(by="telea")(scene(), "r1", half, studio())
    assert (kept[27, 8:20] == scene().picture[27, 8:20]).all()


def test_a_picture_that_is_all_hole_is_refused():
    with pytest.raises(PromptError, match="nothing would be left"):
        Filling()(scene(), "r1", np.ones((48, 64), bool), studio())
