"""The recipe for photographs: from art to a model that answers, in small."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.segmentation.segmenter import open_predictor
from pipelines.training.photographs import PhotographsRun
from seem.backbones import NanoDet, NanoDetConfig
from seem.refined_predictor import RefinedPredictor
from seem.train.recipes import PHOTOGRAPHS

SIDE = 96


def composites(count: int) -> tuple[dict[str, np.ndarray], list[dict[str, object]]]:
    """Pictures with a bright square each, the rest unknown."""
    chance = np.random.default_rng(0)
    images = chance.integers(0, 120, (count, SIDE, SIDE, 3), np.uint8)
    ids = np.zeros((count, SIDE, SIDE), np.uint8)
    images[:, 20:60, 30:80] += 120
    ids[:, 20:60, 30:80] = 1
    return {"images": images, "ids": ids}, [
        {"segments": [{"leaves": [1], "kind": "thing", "source": None}]} for _ in range(count)
    ]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PhotographsRun:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = NanoDet(NanoDetConfig()).state_dict()
    monkeypatch.setattr(
        "grounding.composites.store.open_composites", lambda folder, art, count: composites(count)
    )
    monkeypatch.setattr("weights.nanodet.load_nanodet", lambda folder: backbone)
    loop = dataclasses.replace(PHOTOGRAPHS.loop, steps=2, warmup=1, save_every=1, sample_every=2)
    recipe = dataclasses.replace(
        PHOTOGRAPHS, composites=4, held_out=2, words=2, size=64, batch=2, prompts=1, loop=loop
    )
    return PhotographsRun(recipe, tmp_path / "run")


def test_a_run_trains_samples_and_exports(run: PhotographsRun, tmp_path: Path) -> None:
    run.train(on_cpu=True)
    assert (run.folder / "samples" / "0000002.png").exists()
    run.train(on_cpu=True)  # it is done: nothing more happens
    run.export(tmp_path / "model")
    predictor = open_predictor(tmp_path / "model", device="cpu", offline=True)
    assert isinstance(predictor, RefinedPredictor)
    assert "zebra" in predictor.known.names
    assert predictor.words.tokenizer is not None
    started, _ = run.start()
    frozen = predictor.model.backbone.state_dict()
    for name, value in started.backbone.state_dict().items():
        assert torch.equal(frozen[name], value.half().float()), f"{name} is frozen"
    moved = predictor.model.state_dict()["refiner.coarse.weight"]
    assert not torch.equal(moved, started.state_dict()["refiner.coarse.weight"].half().float())
    images, _ = composites(1)
    predictor.set_image(images["images"][0])
    masks, scores, _ = predictor.predict(points=[[50, 40]])
    assert masks.shape == (1, SIDE, SIDE)
    assert 0 <= float(scores[0]) <= 1
