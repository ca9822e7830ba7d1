"""The compose command: steps on disk, a trace that gives the same bits, one line for errors."""

import json

import pytest
from PIL import Image

from pipelines import compose
from pipelines.cli import COMMANDS
from pipelines.composition.composer import fingerprint
from pipelines.composition.trace import Trace

FEW = ["--planner", "rules", "--pictures", "3", "--steps", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("compose")
    assert compose.main(["a gold cat left of a dog", *FEW, "--seed", "5", "--out", str(out)]) == 0
    return out


def test_every_step_is_on_disk(folder) -> None:
    trace = Trace.load(folder / "trace.json")
    assert trace.steps[0].action == "draw"
    assert len(trace.steps) == 3  # two denoising steps make no cat
    assert [step.seed for step in trace.steps] == list(range(5, 5 + len(trace.steps)))
    for step in trace.steps:
        with Image.open(folder / step.picture) as picture:
            assert fingerprint(picture) == step.sha256
        assert (folder / step.picture.replace(".png", ".found.png")).is_file()
    with Image.open(folder / "picture.png") as best:
        assert fingerprint(best) == trace.steps[trace.best].sha256
    scores = [step.score for step in trace.steps]
    assert trace.best == scores.index(max(scores))
    assert json.loads((folder / "picture.json").read_text())["image"] == "picture.png"


def test_a_trace_is_replayed_to_the_same_bits(folder, capsys) -> None:
    assert compose.main(["--replay", str(folder / "trace.json")]) == 0
    count = len(Trace.load(folder / "trace.json").steps)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == count
    assert all(line.endswith("the same bits") for line in said)


def test_a_trace_that_comes_out_otherwise_is_told(folder, tmp_path, capsys) -> None:
    text = (folder / "trace.json").read_text()
    data = json.loads(text)
    data["steps"] = data["steps"][:1]
    data["best"] = 0
    data["steps"][0]["seed"] = 6
    (tmp_path / "trace.json").write_text(json.dumps(data))
    assert compose.main(["--replay", str(tmp_path / "trace.json")]) == 1
    said = capsys.readouterr().out
    assert "0 draw: another picture" in said
    assert "1 of 1 steps differ" in said


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"steps": []}, "a trace needs steps"),
        ({"best": 99}, "a trace needs steps"),
        ({"more": 1}, "unknown field"),
        ({"format": "x"}, "expected 'lavallama/compose/v1'"),
    ],
)
def test_a_broken_trace_is_one_line(folder, tmp_path, capsys, change, problem) -> None:
    data = json.loads((folder / "trace.json").read_text()) | change
    (tmp_path / "trace.json").write_text(json.dumps(data))
    assert compose.main(["--replay", str(tmp_path / "trace.json")]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1


def test_a_redraw_without_what_it_redraws_is_one_line(folder, tmp_path, capsys) -> None:
    data = json.loads((folder / "trace.json").read_text())
    data["steps"][0]["action"] = "redraw"
    (tmp_path / "trace.json").write_text(json.dumps(data))
    assert compose.main(["--replay", str(tmp_path / "trace.json")]) == 2
    assert "steps[0]: a redraw has a base and one region" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "say what to draw: a CAPTION"),
        (["a dog", "--replay", "t.json"], "--replay takes the caption from the trace"),
        (["--replay", "t.json", "--generator", "sd15"], "--replay draws with the trace's models"),
        (["a dog", "--boxes", "b.json", "--planner", "rules"], "--boxes is a layout already"),
        (["a dog", "--pictures", "0"], "must be a whole number from 1 to 1000"),
    ],
)
def test_wrong_options_are_one_line(arguments, problem, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        compose.main(arguments)
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1


def test_a_layout_that_is_given_is_not_moved(tmp_path, capsys, monkeypatch) -> None:
    given = []

    class Composer:
        def __init__(self, **options):
            given.append(options)

        def __call__(self, plan, graph, *, seed):
            given.append((plan, graph))
            raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.composition.composer.Composer", Composer)
    monkeypatch.setattr(compose, "open_hand", lambda *_, **__: None)
    monkeypatch.setattr(compose, "open_eye", lambda *_, **__: None)
    boxes = '[{"phrase": "lava llama", "box": [0.1, 0.1, 0.9, 0.9]}]'
    assert compose.main(["a lava llama", "--boxes", boxes, "--out", str(tmp_path / "o")]) == 2
    options, (plan, graph) = given
    assert options["moves"] is False
    assert plan.regions[0].box == (0.1, 0.1, 0.9, 0.9)
    assert plan.prompt == "a lava llama"
    assert graph.things[0].phrase == "lava llama"
    assert list(tmp_path.iterdir()) == []


def test_it_is_a_command() -> None:
    assert COMMANDS["compose"][0] == "pipelines.compose"
