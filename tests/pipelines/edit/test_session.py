"""EditSession: the steps as methods, undo and redo, and real models, tiny and random."""

import numpy as np
import pytest

from grounding.errors import PromptError
from grounding.masks import bitmap_to_rle, box_to_bitmap
from grounding.prompt import GroundedPrompt, Region
from pipelines.edit.session import EditSession
from pipelines.edit.studio import Studio
from pipelines.generation.generator import Generator
from tests.pipelines.edit.stand_ins import document, picture, studio
from tests.seem.predicting import tiny_predictor


@pytest.fixture
def session() -> EditSession:
    return EditSession(picture(), document(), studio=studio())


def test_it_reads_like_what_it_does(session):
    assert session.click((0.2, 0.4)).id == "r1"
    session.move(0.1, 0)
    [region] = session.selected
    session.move_to(0.5, 0.5, region.id)
    session.remake("ice")
    session.recolour("teal", "r2")
    session.replace("cat", "r2", seed=1)
    session.add("dog", (0.1, 0.1, 0.3, 0.4))
    session.remove("r1")
    assert [step.do for step in session.history.steps][-3:] == ["replace", "add", "remove"]
    assert session.document.prompt == "a cat and a dog on a beach"
    assert session.picture.size == (64, 48)
    session.replay()


def test_undo_brings_the_same_bits_back(session):
    states = [session.scene]
    for _ in range(3):
        states.append(session.move(0.05, 0.05, "r1"))
    for state in states[2::-1]:
        assert session.undo() is state
    with pytest.raises(PromptError, match="nothing to undo"):
        session.undo()
    assert session.redo() is states[1]
    session.remove("r2")
    with pytest.raises(PromptError, match="nothing to redo"):
        session.redo()
    assert len(session.history.steps) == 2


def test_an_edit_that_fails_changes_nothing(session):
    session.select("dog")
    before = session.history
    for wrong in (
        lambda: session.move(-1, 0, "r1"),
        lambda: session.remove("r7"),
        lambda: session.select("cow"),
        lambda: session.add("cat", (0.5, 0.5, 0.2, 0.9)),
        lambda: session.recolour("lava"),
    ):
        with pytest.raises(PromptError):
            wrong()
    assert session.history is before


def test_a_picture_is_encoded_once(session):
    session.select("dog")
    session.select("llama")
    session.select(box=(0.1, 0.2, 0.35, 0.6))
    assert session.studio.predictor.encoded == 1


def test_with_models(generator: Generator):
    """A tiny generator and a tiny SEEM, both random, that are shared with others."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    llama = Region(id="r1", phrase="llama", box=(0.1, 0.2, 0.5, 0.8))
    models = Studio(drawing=generator, finding=tiny_predictor())
    start = GroundedPrompt(prompt="a llama", regions=[llama])
    session = EditSession(pixels, start, studio=models)
    after = session.add("dog", (0.5, 0.1, 0.9, 0.7), steps=2, seed=1)
    outside = ~box_to_bitmap((0.5, 0.1, 0.9, 0.7), (56, 40))
    assert (after.picture[outside] == pixels[outside]).all()
    assert (after.picture != pixels).any()
    filled = np.zeros((40, 56), bool)
    filled[8:32, 6:28] = True
    drawn = llama.replace(mask=bitmap_to_rle(filled))
    masked = EditSession(pixels, start.replace(regions=[drawn]), studio=models)
    made = masked.remake("gold", steps=2, region="r1")
    assert (made.picture[~filled] == pixels[~filled]).all()
    assert (made.picture[filled] != pixels[filled]).any()
    assert made.document.prompt == "a gold llama"
    models.predictor.set_image(pixels)  # somebody else
    session.replay()
