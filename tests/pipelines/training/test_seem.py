"""Training SEEM from the command line, in miniature."""

import dataclasses
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from grounding.loop import LoopConfig
from pipelines.train import main
from seem.train import recipes
from tests.seem.train.folders import coco_folder
from weights.predictor import load_predictor

LOOP = LoopConfig(steps=4, learning_rate=1e-3, warmup=1, save_every=2, sample_every=4)
MINIATURE = dataclasses.replace(
    recipes.RECIPES["stickers"],
    config="tiny",
    scenes=8,
    collages=4,
    words=2,
    batch=2,
    points=64,
    loop=LOOP,
    sizes={0: 64, 2: 96},
    features_first=1,
)
KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(int(sys.argv[2]))  # sums depend on it
from seem.train import recipes, task
from tests.pipelines.training.test_seem import MINIATURE
recipes.RECIPES = {"stickers": MINIATURE}
whole = task.SeemTask.loss
def loss(self, generator, step):
    if step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, generator, step)
task.SeemTask.loss = loss
from pipelines.train import main
main(["seem", "--runs", sys.argv[1]])
"""


@pytest.fixture(autouse=True)
def miniature(monkeypatch):
    monkeypatch.setattr(recipes, "RECIPES", {"stickers": MINIATURE})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, trained once."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "RECIPES", {"stickers": MINIATURE})
        assert main(["seem", "--runs", str(folder)]) == 0
    return folder


def state(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def test_a_run_leaves_a_checkpoint_a_log_and_samples(run):
    assert state(run)["step"] == 4
    last = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    assert {"point/name", "free/name", "text/bce", "drawn/iou"} <= last.keys()
    assert (run / "samples" / "0000004.png").stat().st_size > 1000


def test_killed_and_resumed_ends_with_the_same_bits(run):
    killed = run.parent / "killed"
    threads = str(torch.get_num_threads())
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(killed), threads], check=False, env={**os.environ}
    )
    assert done.returncode == -signal.SIGKILL
    assert state(killed)["step"] == 2
    assert main(["seem", "--runs", str(killed)]) == 0
    one, two = state(run), state(killed)
    for part in ("parameters", "average"):
        assert all(torch.equal(one[part][k], two[part][k]) for k in one[part])


def test_the_export_answers_questions(run, tmp_path):
    assert main(["seem", "--runs", str(run), "--export", str(tmp_path / "model")]) == 0
    predictor = load_predictor(tmp_path / "model")
    assert predictor.vocabulary is not None
    assert "llama" in predictor.vocabulary.things
    assert predictor.box_mode == "outline"
    predictor.set_image(np.zeros((50, 70, 3), np.uint8))
    assert predictor.predict(points=[[3, 3]]).masks.shape == (1, 50, 70)
    assert predictor.panoptic().map.shape == (50, 70)


def test_what_the_embedded_model_knows_is_shown_among_new_things(run, tmp_path, capsys):
    model = tmp_path / "model"
    assert main(["seem", "--runs", str(run), "--export", str(model)]) == 0
    data, tuned = coco_folder(tmp_path / "coco"), tmp_path / "tuned"
    arguments = ["seem", "--data", str(data), "--init", str(model), "--runs", str(tuned)]
    assert main([*arguments, "--scenes", "4", "--size", "64", "--steps", "1"]) == 0
    assert "40% of the pictures show what the model knew" in capsys.readouterr().out
    vocabulary = load_predictor(tuned / "export").vocabulary
    assert vocabulary is not None
    assert vocabulary.names[0] == "dog"
    assert {"grass", "llama", "meadow"} <= {*vocabulary.names}


def test_fine_tuning_on_coco_pictures_leaves_frozen_parts_alone(run, tmp_path, capsys):
    model = tmp_path / "model"
    assert main(["seem", "--runs", str(run), "--export", str(model)]) == 0
    data, tuned = coco_folder(tmp_path / "coco"), tmp_path / "tuned"
    arguments = ["seem", "--data", str(data), "--init", str(model), "--runs", str(tuned)]
    arguments += ["--freeze", "backbone,text_encoder", "--size", "64", "--steps", "2"]
    arguments += ["--replay", "0"]
    assert main(arguments) == 0
    trained = state(tuned)["parameters"].keys()
    assert any(key.startswith("model.decoder.") for key in trained)
    assert not any(key.startswith(("model.backbone.", "model.text_encoder.")) for key in trained)
    assert main(["seem", "--runs", str(tuned), "--export", str(tmp_path / "mine")]) == 0
    before, after = load_predictor(model), load_predictor(tmp_path / "mine")
    assert after.vocabulary is not None
    assert after.vocabulary.names == ("dog", "grass")
    for part in ("backbone", "text_encoder"):
        old = before.model.get_submodule(part).state_dict()
        new = after.model.get_submodule(part).state_dict()
        same = [key for key in old if key != "token_embedding.weight"]  # "grass" is a new word
        assert all(torch.equal(old[key], new[key]) for key in same)
    old, new = before.model.decoder.state_dict(), after.model.decoder.state_dict()
    assert not all(torch.equal(old[key], new[key]) for key in old)
    other, before = coco_folder(tmp_path / "other", 3), (tuned / "checkpoint.pt").read_bytes()
    capsys.readouterr()
    for more, words in (
        (["--data", str(other)], f"was begun with data {data} ("),
        (["--freeze", "backbone"], 'freeze "backbone,text_encoder", now it is "backbone"'),
        (["--size", "96"], "size"),
        (["--data", str(other), "--export", "x"], f"was begun with data {data} ("),
        (["--recipe", "stickers", "--export", "x"], 'was begun with recipe "own"'),
    ):
        assert main([*arguments, "--steps", "3", *more]) == 2
        error = capsys.readouterr().err.strip()
        assert words in error
        assert "\n" not in error
    (tuned / "run.json").unlink()
    assert main(["seem", "--runs", str(tuned), "--export", "x"]) == 2
    assert "name its data with --data" in capsys.readouterr().err
    assert main([*arguments, "--steps", "3", "--freeze", "backbone"]) == 2
    assert "of another model" in capsys.readouterr().err.splitlines()[-1]
    assert (tuned / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "huge"], "no recipe 'huge'"),
        (["--freeze", "head"], "--freeze takes backbone"),
        (["--freeze", "backbone,pixel_decoder,text_encoder,decoder"], "nothing is left to train"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--size", "100"], "multiple of 32"),
        (["--data", "gone.json"], "gone.json"),
        (["--export", "out"], "train first"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, words, tmp_path, capsys):
    assert main(["seem", "--runs", str(tmp_path / "run"), *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error
    assert "\n" not in error
