"""The benchmark trains what it says, on both sides, and ends in one line."""

import copy
import json

import pytest
import torch

from benchmarks.random_model import SIZES, RandomModel
from benchmarks.train import SIDES, build, parse, run_side, summary

MODEL = RandomModel(SIZES["tiny"], torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_both_sides_learn(precision):
    options = parse(["--size", "tiny", "--batch", "2", "--precision", precision])
    trained = {}
    for side in SIDES:
        step, trained[side] = build(side, MODEL, options)
        losses = [step() for _ in range(3)]
        assert losses[2] < losses[0]
    unet = MODEL.unet(gated=False)
    assert trained["full"] == sum(p.numel() for p in unet.parameters())
    assert trained["gates"] == sum(p.numel() for p in MODEL.adapter(unet).parameters())


def test_checkpointing_changes_no_step():
    options = parse(["--size", "tiny", "--batch", "1"])
    plain = build("gates", MODEL, options)[0]
    options.checkpointing = True
    saving = build("gates", MODEL, options)[0]
    assert [plain(), plain()] == pytest.approx([saving(), saving()], rel=1e-5)


def test_the_last_line_compares_time_and_memory():
    options = parse(["--size", "tiny", "--batch", "1", "--repeats", "1"])
    sides = {}
    for side in SIDES:
        one = copy.copy(options)
        one.side = side
        sides[side] = run_side(one)
    line = json.loads(json.dumps(summary(sides, options)))
    assert line["benchmark"] == "train"
    assert line["seconds"].keys() == line["peak_mib"].keys() == set(SIDES)
    assert line["time_ratio"] > 0
    assert line["command"] == "python -m benchmarks.train --size tiny --batch 1 --repeats 1"
