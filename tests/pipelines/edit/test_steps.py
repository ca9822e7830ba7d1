"""Select, remove, move, replace, add, recolour: what each does to a scene."""

import numpy as np
import pytest

from grounding.errors import PromptError
from grounding.masks import region_bitmap
from grounding.region import Region
from pipelines.edit.add import Add
from pipelines.edit.move import Move
from pipelines.edit.recolour import Recolour, rephrased, tinted
from pipelines.edit.regions import with_region
from pipelines.edit.remove import Remove
from pipelines.edit.replace import Replace
from pipelines.edit.scene import Scene
from pipelines.edit.select import Select
from tests.pipelines.edit.stand_ins import BEACH, COLOURS, picture, scene, studio

LLAMA = (slice(12, 28), slice(8, 20))


def seen(scene: Scene, name: str) -> np.ndarray:
    area = region_bitmap(scene.document.region(name), scene.size)
    assert area is not None
    return area


def test_selecting_gives_a_mask():
    before = scene()
    after = Select(phrase="dog")(before, studio())
    assert after.selected == ("r2",)
    assert after.said == "selected r2 dog"
    assert seen(after, "r2").sum() == 16 * 12
    assert after.picture is before.picture
    assert Select(phrase="r1")(scene(), studio()).selected == ("r1",)


def test_selecting_on_a_bare_picture():
    bare = Scene.of(picture())
    clicked = Select.model_validate({"points": [{"xy": [0.8, 0.6]}]})(bare, studio())
    assert clicked.document.regions[0].id == "r1"
    assert clicked.document.regions[0].score == pytest.approx(0.9)
    boxed = Select(box=(0.1, 0.2, 0.35, 0.6), phrase="llama")(clicked, studio())
    assert [region.phrase for region in boxed.document.regions] == ["", "llama"]
    assert boxed.selected == ("r2",)
    named = Select(phrase="dog")(boxed, studio())
    assert [region.phrase for region in named.document.regions] == ["dog", "llama"]
    with pytest.raises(PromptError, match='nothing called "cat" was found'):
        Select(phrase="cat")(bare, studio())


def test_all_that_is_called_so():
    first = scene().document.region("r1")
    twin = first.replace(id="r3", mask=None, box=(44 / 64, 20 / 48, 56 / 64, 36 / 48))
    two = scene().changed(with_region(scene().document, twin))
    two = two.changed(
        two.document,
        np.where(two.picture == (30, 60, 200), (200, 30, 30), two.picture).astype(np.uint8),
    )
    assert Select(phrase="llama", all=True)(two, studio()).selected == ("r1", "r3")
    for wrong in (
        {},
        {"phrase": " "},
        {"all": True},
        {"phrase": "a", "all": True, "box": [0, 0, 1, 1]},
    ):
        with pytest.raises(PromptError, match="select something|all is for words alone"):
            Select.model_validate(wrong)


def test_removing_leaves_the_ground():
    after = Remove(region="llama")(scene(), studio())
    assert after.document.prompt == "a dog on a beach"
    assert np.abs(after.picture[LLAMA].astype(int) - BEACH).max() <= 1
    assert (after.picture[:, 40:] == picture()[:, 40:]).all()
    assert after.said == "removed r1 llama; the hole was drawn by the model"
    both = scene().changed(scene().document, selected=("r1", "r2"))
    assert Remove()(both, studio()).document.regions == ()


def test_moving_takes_the_pixels_along():
    after = Move(region="r1", by=(0.25, 0.125), feather=0)(scene(), studio())
    assert (after.picture[18:34, 24:36] == COLOURS["llama"]).all()
    assert np.abs(after.picture[LLAMA][:6].astype(int) - BEACH).max() <= 1
    assert after.document.region("r1").box == (24 / 64, 18 / 48, 36 / 64, 34 / 48)
    assert after.document.relations == scene().document.relations
    assert after.said.startswith("moved r1 llama by 16,6 pixels; the hole was")
    over = Move(region="r1", to=(50 / 64, 28 / 48))(
        Select(phrase="r2")(scene(), studio()), studio()
    )
    assert over.document.region("r1").box == over.document.region("r2").box
    assert over.document.region("r2").mask is None
    assert over.document.region("r1").z == 1
    assert over.document.relations == ()
    edge = Move(region="r1", by=(-0.2, 0))(scene(), studio())
    assert seen(edge, "r1").sum() == 16 * 7
    with pytest.raises(PromptError, match="r1 would leave the picture"):
        Move(region="r1", by=(-1, 0))(scene(), studio())
    for wrong in ({}, {"by": [0, 0], "to": [0, 0]}):
        with pytest.raises(PromptError, match="by how much, or to where"):
            Move.model_validate(wrong)


def test_moving_may_draw_into_the_new_place():
    models = studio()
    after = Move(region="r1", by=(0.2, 0), harmonise=0.4, seed=2)(scene(), models)
    asked, wishes = models.generator.asked[-1]
    assert wishes == {"seed": 2, "strength": 0.4}
    assert asked.regions[0].phrase == "llama"
    assert (after.picture[~seen(after, "r1")][0] == BEACH).all()


def test_replacing_draws_what_is_found_in_the_box():
    after = Replace(region="r1", phrase="ice cat", seed=3)(scene(), studio())
    new = after.document.region("r1")
    assert (new.phrase, new.attributes) == ("ice cat", {})
    assert after.document.prompt == "an ice cat and a dog on a beach"
    assert (after.picture[20, 14] == COLOURS["cat"]).all()
    assert np.abs(after.picture[12, 8].astype(int) - BEACH).max() <= 1  # a disc has no corners
    assert seen(after, "r1").sum() == pytest.approx(np.pi * 6 * 8, rel=0.1)
    assert (after.picture[:, 22:] == picture()[:, 22:]).all()
    assert after.said == "replaced r1 llama by ice cat"


def test_adding_selects_what_is_new():
    after = Add(phrase="cat", box=(0.4, 0.5, 0.6, 0.9))(scene(), studio())
    assert after.selected == ("r3",)
    assert after.document.prompt == "a llama, a dog and a cat on a beach"
    assert seen(after, "r3").sum() > 0
    inside = np.zeros((48, 64), bool)
    inside[24:44, 25:39] = True
    assert (after.picture[~inside] == picture()[~inside]).all()
    unseen = Add(phrase="cat", box=(0.4, 0.5, 0.6, 0.9))(scene(), _blind())
    assert unseen.document.region("r3").box == pytest.approx((26 / 64, 0.5, 38 / 64, 43 / 48))


def _blind():
    models = studio()
    models.predictor.like = lambda colour: np.zeros((48, 64), bool)
    return models


def test_a_colour_keeps_light_and_shade():
    area = np.ones((2, 4), bool)
    shades = np.linspace(0, 255, 8).astype(np.uint8).reshape(2, 4, 1).repeat(3, axis=2)
    teal = tinted(shades, area, "#004040").astype(int)
    assert (teal[0, 0] == 0).all()
    assert (np.diff(teal.reshape(-1, 3)[:, 1]) > 0).all()
    assert (teal[..., 0] == 0).all()
    assert (teal[..., 1] == teal[..., 2]).all()
    pale = tinted(shades, area, "#ffc0c0").astype(int)
    assert (np.diff(pale.reshape(-1, 3)[:, 0]) > 0).all()
    assert pale[1, 3, 0] == 255
    gray = tinted(picture(), picture()[..., 0] == 200, "#808080")
    assert np.ptp(gray[15, 10]) == 0
    assert (gray[0] == BEACH).all()


def test_recolouring_says_what_it_is_now():
    after = Recolour(region="r1", colour="blue", feather=0)(scene(), studio())
    blue = after.picture[LLAMA].astype(int)
    assert (blue[..., 2] > blue[..., 0] + 50).all()
    new = after.document.region("r1")
    assert (new.phrase, new.attributes) == ("blue llama", {"colour": "blue"})
    assert after.document.prompt == "a blue llama and a dog on a beach"
    outside = np.ones((48, 64), bool)
    outside[LLAMA] = False
    assert (after.picture[outside] == picture()[outside]).all()
    models = studio()
    ice = Recolour(region="r1", material="ice", seed=1)(scene(), models)
    assert ice.document.region("r1").phrase == "ice llama"
    assert models.generator.asked[0][0].regions[0].phrase == "ice llama"
    assert (ice.picture[outside] == picture()[outside]).all()
    for wrong in ({"colour": "red", "material": "ice"}, {}):
        with pytest.raises(PromptError, match="one of the two"):
            Recolour.model_validate(wrong)
    with pytest.raises(PromptError, match='no colour is called "lava": give a name'):
        Recolour(colour="lava")


@pytest.mark.parametrize(
    ("phrase", "look", "kind", "now"),
    [
        ("llama", "ice", "material", "ice llama"),
        ("red lava llama", "ice", "material", "ice llama"),
        ("big red llama", "teal", "colour", "teal big llama"),
        ("lava llama", "teal", "colour", "teal lava llama"),
        ("lava llama", "#00ff00", "colour", "lava llama"),
        ("", "teal", "colour", ""),
    ],
)
def test_phrases_follow_the_look(phrase, look, kind, now):
    assert rephrased(phrase, look, kind) == now


def test_nothing_there_is_one_line():
    lost = scene().changed(with_region(scene().document, Region(id="r9", phrase="cat")))
    with pytest.raises(PromptError, match=r"nothing was found for r9 \(cat\): select it"):
        Remove(region="r9")(lost, studio())
