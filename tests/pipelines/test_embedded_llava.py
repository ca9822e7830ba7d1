"""The LLaVA that ships: its size, and that it answers about scenes it never saw."""

import json
from pathlib import Path

import pytest

from pipelines import chat
from pipelines.evaluate.chat import main
from weights.registry import embedded

FOLDER = embedded("llava")
LIMIT = 35 * 2**20  # bytes
PICTURE = Path(__file__).parents[2] / "examples" / "fox_and_house.png"
SCENES = "30"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What it answers about new scenes."""
    out = tmp_path_factory.mktemp("report")
    assert main(["--scenes", SCENES, "--out", str(out), "--pictures", "0"]) == 0
    return json.loads((out / "report.json").read_text())


def test_it_is_small():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < LIMIT


def test_its_card_says_what_was_measured_and_where_it_ends():
    card = (FOLDER / "README.md").read_text("utf-8")
    assert "lavallama evaluate chat" in card
    assert "## Limits" in card


def test_it_says_what_is_there_and_what_is_not(results):
    for kind in ("random", "popular", "adversarial"):
        assert results[kind]["held-out"]["f1"] >= 0.95


@pytest.mark.parametrize(
    ("task", "number", "least"),
    [
        ("counting", "accuracy", 0.9),
        ("attribute", "accuracy", 0.95),
        ("relation", "accuracy", 0.95),
        ("referring", "iou", 0.75),
        ("fits", "accuracy", 0.95),
        ("plan", "accuracy", 0.9),
    ],
)
def test_it_answers_about_new_scenes(task, number, least, results):
    assert results[task]["held-out"][number] >= least


def test_it_is_asked_unless_another_is_named(capsys):
    question = [str(PICTURE), "What is the house made of?"]
    assert chat.main(question) == 0
    assert capsys.readouterr().out == "stone\n"
