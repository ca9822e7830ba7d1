"""Histories on disk: all of it comes back, nothing that is not ours is read."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from grounding.errors import OutputError, PromptError
from pipelines.edit.session import EditSession
from tests.pipelines.edit.stand_ins import document, picture, studio


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "h"
    session = EditSession(picture(), document(), studio=studio())
    session.select("dog")
    session.move(-0.2, 0.1, seed=3)
    session.recolour("teal")
    session.undo()
    session.save(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "h")


def test_a_history_comes_back(folder):
    again = EditSession.open(folder, studio=studio())
    assert [step.do for step in again.history.steps] == ["select", "move"]
    assert again.scene.selected == ("r2",)
    assert again.document.region("r2").box is not None
    again.redo()
    assert again.document.region("r2").phrase == "teal dog"
    again.replay()
    assert [path.name for path in again.save(folder)] == [
        "edited.png",
        "edited.overlay.png",
        "edited.json",
        "history.json",
    ]
    assert len(list((folder / "pictures").iterdir())) == 3
    kept = json.loads((folder / "history.json").read_text())
    assert kept["models"] == {
        "model": "embedded",
        "adapter": None,
        "vae": None,
        "text_encoder": None,
        "segmenter": "embedded",
    }
    assert kept["scenes"][2]["step"] == {"do": "move", "seed": 3, "by": [-0.2, 0.1]}


def test_another_model_is_found_out(folder):
    other = studio()
    other.predictor.like = lambda colour: np.indices((48, 64)).sum(0) % 2 == 0
    with pytest.raises(PromptError, match=r"step 1 \(select\) comes out different"):
        EditSession.open(folder, studio=other).replay()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda kept: kept.update(schema="lavallama/edit/v2"), "schema"),
        (lambda kept: kept.update(place=9), "place: must be at most 3, got 9"),
        (lambda kept: kept.update(scenes=[]), "scenes"),
        (lambda kept: kept["scenes"][1].pop("step"), "every one but the first has a step"),
        (lambda kept: kept["scenes"][1].update(step={"do": "melt"}), 'an object with "do"'),
        (lambda kept: kept["scenes"][1].update(picture="../../secret"), "64 hexadecimal digits"),
        (lambda kept: kept["scenes"][1].update(picture="0" * 64), "no such file"),
        (lambda kept: kept["scenes"][1].update(selected=["r9"]), 'no region has the id "r9"'),
        (lambda kept: kept["scenes"][1]["document"].pop("canvas"), "not the picture's size"),
    ],
)
def test_what_is_damaged_is_one_line(folder, change, problem):
    path = folder / "history.json"
    kept = json.loads(path.read_text())
    change(kept)
    path.write_text(json.dumps(kept))
    with pytest.raises(PromptError, match=problem) as raised:
        EditSession.open(folder)
    assert str(raised.value).startswith(str(path))


def test_another_picture_is_found_out(folder):
    for path in (folder / "pictures").iterdir():
        Image.new("RGB", (64, 48)).save(path)
    with pytest.raises(PromptError, match="is another picture than was saved"):
        EditSession.open(folder)
    with pytest.raises(PromptError, match="no such file"):
        EditSession.open(folder / "pictures")


def test_nothing_is_half_written(folder, tmp_path):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    session = EditSession.open(folder, studio=studio())
    session.remove()
    (folder / "edited.json").unlink()
    (folder / "edited.json").mkdir()
    with pytest.raises(OutputError):
        session.save(folder)
    shutil.rmtree(folder / "edited.json")
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    history = folder / "history.json"
    assert after[history] == before[history]
    assert not [path for path in after if path.name.endswith(".part")]


def test_what_another_session_saved_meanwhile_is_not_lost(folder, tmp_path):
    one, two = (EditSession.open(folder, studio=studio()) for _ in range(2))
    one.recolour("red")
    one.save(folder)
    two.recolour("blue")
    with pytest.raises(OutputError, match="another session has saved there meanwhile"):
        two.save(folder)
    assert EditSession.open(folder).document.region("r2").phrase == "red dog"
    one.undo()
    one.save(folder)  # its own
    two.save(tmp_path / "other")
    two.save(tmp_path / "other")


def test_a_folder_that_is_watched_is_not_taken_from_another(folder, tmp_path):
    begun, late = (EditSession(picture(), document(), studio=studio()) for _ in range(2))
    begun.watch(tmp_path / "new")
    late.watch(tmp_path / "new")
    late.save(tmp_path / "new")
    with pytest.raises(OutputError, match="meanwhile"):
        begun.save(tmp_path / "new")
    again = EditSession(picture(), document(), studio=studio())
    again.save(folder)  # whoever begins anew writes anew, as ever
