"""`lavallama edit`: steps from options, scripts and the terminal."""

import io
import json
import os
import sys

import pytest
from PIL import Image

from grounding.prompt import GroundedPrompt
from pipelines.edit import command
from pipelines.edit.session import EditSession
from pipelines.generation.png import read_png
from tests.pipelines.edit.stand_ins import document, picture, studio


@pytest.fixture
def image(tmp_path, monkeypatch):
    """A picture and its document; models that are asked for by name are stand-ins."""
    models = studio()
    monkeypatch.setattr("pipelines.edit.studio.Studio.generator", models.generator)
    monkeypatch.setattr("pipelines.edit.studio.Studio.predictor", models.predictor)
    Image.fromarray(picture()).save(tmp_path / "llama.png")
    document().replace(image="llama.png").save(tmp_path / "llama.json")
    return tmp_path / "llama.json"


def test_steps_are_done_and_saved(image, capsys, tmp_path):
    out = tmp_path / "out"
    steps = ["--do", "select llama", "--do", "move r1 0.2,0.1", "--do", 'replace r1 "ice cat"']
    assert command.main([str(image), *steps, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "selected r1 llama"
    assert lines[2] == "replaced r1 llama by ice cat"
    assert lines[3:] == [
        str(out / name)
        for name in ("edited.png", "edited.overlay.png", "edited.json", "history.json")
    ]
    made = GroundedPrompt.load(out / "edited.json")
    assert made.prompt == "an ice cat and a dog on a beach"
    assert made.image == "edited.png"
    assert read_png(out / "edited.png") == made
    assert made.provenance is not None
    assert made.provenance.settings["edits"] == 3
    assert command.main([str(out), "--do", "undo", "--do", "undo"]) == 0
    assert "undone: replaced r1 llama by ice cat" in capsys.readouterr().out
    assert len(EditSession.open(out).history.steps) == 1
    assert command.main([str(out), "--replay"]) == 0
    assert capsys.readouterr().out == "3 steps, the same to the bit\n"
    again = tmp_path / "again"
    assert command.main([str(out / "edited.png"), "--do", "remove r1", "--out", str(again)]) == 0
    assert GroundedPrompt.load(again / "edited.json").prompt == "a dog on a beach"


def test_scripts(image, capsys, tmp_path):
    script = tmp_path / "steps.json"
    script.write_text(json.dumps([{"do": "select", "phrase": "dog"}, "remove"]))
    out = tmp_path / "out"
    asked = [str(tmp_path / "llama.png"), "--script", str(script), "--out", str(out)]
    assert command.main(asked) == 0
    assert GroundedPrompt.load(out / "edited.json").regions == ()


def test_a_conversation(image, capsys, monkeypatch, tmp_path):
    out = tmp_path / "out"
    typed = "help\nselect dog\nshow\nmelt\nremove\n# nothing\nundo\nredo\nquit\nnot read\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert command.main([str(image), "--out", str(out)]) == 2  # nobody saw what failed
    said = capsys.readouterr()
    assert 'lavallama edit: error: "melt" is no edit' in said.err
    assert said.err.count("\n") == 1
    assert "* r2  dog  box 44,20,56,36\n" in said.out
    assert "  r1  llama  box 8,12,20,28\n" in said.out
    assert "quit" in said.out
    assert len(GroundedPrompt.load(out / "edited.json").regions) == 1
    monkeypatch.setattr(sys, "stdin", io.StringIO("help\n"))
    assert command.main([str(image), "--out", str(tmp_path / "none")]) == 0
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--do", "melt"], '"melt" is no edit'),
        (["--do", "remove r9"], 'no region is called "r9"'),
        (["--do", "select r1", "--do", "move -1,0"], "would leave the picture"),
        (["--do", "undo"], "nothing to undo"),
        (["--do", "undo", "--script", "x"], "not from both"),
        (["--do", "undo", "--replay"], "leave --do and --script out"),
        (["--script", "/no/such/file"], "/no/such/file: no such file"),
        (["--do", "remove r1", "--out", "/proc/none"], "cannot write"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, problem, image, capsys, tmp_path):
    out = tmp_path / "never"
    try:
        code = command.main([str(image), "--out", str(out), *arguments])
    except SystemExit as left:
        code = left.code
    assert code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lavallama edit: error: ")
    assert problem in line
    assert not out.exists()


def test_sources_that_are_none(image, capsys, tmp_path):
    (tmp_path / "bare.json").write_text('{"prompt": "a llama", "regions": []}')
    (tmp_path / "noise.png").write_bytes(b"\x89PNG noise")
    os.mkfifo(tmp_path / "pipe.png")
    for name, problem in (
        ("bare.json", "names no picture"),
        ("noise.png", "is not a whole picture"),
        ("none.png", "no such file"),
        ("pipe.png", "is a pipe that nobody writes to"),
        (".", "history.json: no such file"),
    ):
        source = str(tmp_path / name)
        assert command.main([source, "--do", "undo", "--out", str(tmp_path / "o")]) == 2
        assert problem in capsys.readouterr().err
    Image.fromarray(picture()).save(tmp_path / "edited.png")
    assert command.main([str(tmp_path / "edited.png"), "--out", str(tmp_path)]) == 2
    assert "would be replaced while it is read" in capsys.readouterr().err


def test_what_is_changed_all_over_a_picture_is_said(image, capsys, tmp_path):
    clear = Image.fromarray(picture()).convert("RGBA")
    clear.putpixel((0, 0), (0, 0, 0, 0))
    clear.save(tmp_path / "llama.png")
    out = tmp_path / "out"
    assert command.main([str(image), "--do", "recolour r1 teal", "--out", str(out)]) == 0
    [said] = capsys.readouterr().err.splitlines()
    assert said.endswith("llama.png: transparency is laid on white, in all of the picture")
    with Image.open(out / "edited.png") as edited:
        assert edited.getpixel((0, 0)) == (255, 255, 255)
