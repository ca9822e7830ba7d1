"""Where numbers go, and what of them is taken back."""

import json

import pytest

from grounding.telemetry import LOG, JsonLines, WeightsAndBiases


def steps(folder):
    return [json.loads(line)["step"] for line in (folder / LOG).read_text().splitlines()]


def test_lines_after_the_start_are_taken_back(tmp_path):
    lines = JsonLines(tmp_path, 0)
    for step in (10, 20, 30):
        lines.numbers(step, {"loss": 0.123456789, "rate": 1e-9})
    with (tmp_path / LOG).open("a") as out:
        out.write('{"step": 40, "lo')  # cut off by a kill
    assert json.loads((tmp_path / LOG).read_text().splitlines()[0]) == {
        "step": 10,
        "loss": 0.123457,
        "rate": 1e-9,
    }
    JsonLines(tmp_path, 20).numbers(30, {"loss": 2.0})
    assert steps(tmp_path) == [10, 20, 30]
    JsonLines(tmp_path, 30)
    assert steps(tmp_path) == [10, 20, 30]


def test_wandb_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="wandb is not installed"):
        WeightsAndBiases(tmp_path, "llamas")
