"""The plan command: a document that `lavallama generate` takes, a sketch, one line for errors."""

import json

import pytest
from PIL import Image

from grounding.formats import load
from grounding.prompt import GroundedPrompt
from pipelines import plan
from pipelines.cli import COMMANDS

RULES = ["--planner", "rules"]


def test_a_layout_is_written_and_told(tmp_path, capsys) -> None:
    out = tmp_path / "here" / "llamas.json"
    caption = "three llamas glowing left of a volcano, no trees"
    assert plan.main([caption, *RULES, "--seed", "3", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "asked: llama left of volcano" in said.out
    assert "asked: no tree" in said.out
    assert "laid out by rules:" in said.out
    assert said.out.endswith(f"{out}\n{out.with_suffix('.png')}\n")
    assert said.err == (
        "lavallama plan: warning: not understood, and left to the picture: 'glowing'\n"
    )
    document = load(out)
    assert document == GroundedPrompt.load(out)
    assert [r.phrase for r in document.regions] == ["llama"] * 3 + ["volcano"]
    assert document.prompt == caption
    with Image.open(out.with_suffix(".png")) as sketch:
        assert sketch.size == (512, 512)


def test_the_same_seed_gives_the_same_file(tmp_path) -> None:
    for name in ("a", "b"):
        assert plan.main(["a dog and a cat", *RULES, "--out", str(tmp_path / f"{name}.json")]) == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([" "], "the caption is empty"),
        (["a dog", *RULES, "--model", "m"], "--planner rules asks no --model"),
        (["a dog", "--model", "http://x/v1"], "--model at an address needs --served-model"),
        (["a dog", "--served-model", "m"], "are for a --model at an address"),
        (["a dog", "--attempts", "0"], "must be a whole number from 1 to 20"),
    ],
)
def test_wrong_options_are_one_line(arguments, problem, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        plan.main(arguments)
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["at night", *RULES], "names nothing that could be put into a box"),
        (["a dog", *RULES, "--out", "a.txt"], "layouts are written as JSON; name it .json"),
        (["999 dogs", *RULES], "asks for 999 things; at most 100 are planned"),
        (
            ["a dog", "--model", "/nowhere/model", "--offline"],
            "/nowhere/model: no such file or folder",
        ),
    ],
)
def test_what_cannot_be_is_one_line(arguments, problem, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert plan.main(arguments) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_endpoint_lays_out(tmp_path, capsys, monkeypatch) -> None:
    from grounding.llava.endpoint import Endpoint
    from tests.pipelines.planning.test_planner import RIGHT

    monkeypatch.setattr(Endpoint, "answer", lambda *_: RIGHT)
    out = tmp_path / "a.json"
    remote = ["--model", "http://127.0.0.1:1/v1", "--served-model", "some-model"]
    assert plan.main(["two llamas left of a volcano", *remote, "--out", str(out)]) == 0
    assert "laid out by some-model:" in capsys.readouterr().out
    assert json.loads(out.read_text())["provenance"]["settings"]["planner"] == "some-model"


def test_it_is_a_command() -> None:
    assert COMMANDS["plan"][0] == "pipelines.plan"
