"""A run that is killed and resumed ends with the same bits as one that never was."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from grounding.errors import CheckpointError, OutputError
from grounding.loop import PROCESS_STRIDE, LoopConfig, learning_rate, train

CONFIG = LoopConfig(steps=12, learning_rate=1e-2, warmup=3, save_every=4, sample_every=6)


class Line:
    """Fits a line to noisy points; says when it was sampled."""

    def __init__(self, die_at: int | None = None):
        torch.manual_seed(0)
        self.module = nn.Linear(3, 2)
        self.die_at = die_at
        self.sampled: list[str] = []

    def trained(self):
        return self.module

    def loss(self, generator, step):
        if step == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        x = torch.randn(8, 3, generator=generator)
        return (self.module(x) - x[:, :2]).square().mean(), {"x": x.mean().item()}

    def sample(self, path: Path):
        self.sampled.append(path.name)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_killed_and_resumed_equals_never_killed(tmp_path):
    whole = train(Line(), CONFIG, tmp_path / "whole")
    script = (
        "import sys; from pathlib import Path; from grounding.loop import train; "
        "from tests.grounding.test_loop import CONFIG, Line; "
        "train(Line(die_at=9), CONFIG, Path(sys.argv[1]))"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "killed")], check=False)
    assert killed.returncode == -signal.SIGKILL
    resumed = train(Line(), CONFIG, tmp_path / "killed")
    assert same(whole, resumed)


class BothHalves(Line):
    """Learns in one process what two learn together."""

    def loss(self, generator, step):
        other = torch.Generator().manual_seed(generator.initial_seed() + PROCESS_STRIDE)
        losses = [super(BothHalves, self).loss(half, step)[0] for half in (generator, other)]
        return torch.stack(losses).mean(), {}


def test_two_processes_learn_what_one_learns_of_both_batches(tmp_path):
    script = tmp_path / "halves.py"
    script.write_text(
        "import sys; from pathlib import Path; from grounding.loop import train; "
        "from tests.grounding.test_loop import CONFIG, Line; "
        "train(Line(), CONFIG, Path(sys.argv[1]))"
    )
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    folder = tmp_path / "two"
    subprocess.run(
        [sys.executable, "-m", *launch, str(script), str(folder)],
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "ACCELERATE_USE_CPU": "1"},
        timeout=240,
    )
    two = torch.load(folder / "checkpoint.pt", weights_only=True)["average"]
    one = train(BothHalves(), CONFIG, tmp_path / "one")
    assert two.keys() == one.keys()
    assert all(torch.allclose(two[name], one[name], atol=1e-6) for name in one)


def test_training_learns_logs_and_samples(tmp_path):
    task = Line()
    config = LoopConfig(steps=300, learning_rate=5e-2, warmup=3, ema=0.0, sample_every=150)
    train(task, config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [50, 100, 150, 200, 250, 300]
    assert lines[-1]["loss"] < 0.05 * lines[0]["loss"] or lines[-1]["loss"] < 1e-4
    assert task.sampled == ["0000150.png", "0000300.png"]


def test_the_average_is_returned_and_the_trained_weights_stay(tmp_path):
    task = Line()
    average = train(task, CONFIG, tmp_path)
    assert not torch.equal(average["weight"], task.module.weight)


class InHalves(Line):
    """Learns of a step's batches what `BothHalves` learns of both together."""

    def loss(self, generator, step):
        step, half = divmod(step, 2)
        seed = torch.Generator().manual_seed(step + half * PROCESS_STRIDE)
        return super().loss(seed, step)


def test_accumulated_batches_are_learnt_like_one(tmp_path):
    config = dataclasses.replace(CONFIG, accumulate=2)
    one = train(BothHalves(), CONFIG, tmp_path / "one")
    two = train(InHalves(), config, tmp_path / "two")
    assert all(torch.allclose(two[name], one[name], atol=1e-6) for name in one)


class Measured(Line):
    """Is best in the middle."""

    def sample(self, path):
        super().sample(path)
        return {"score": -abs(int(path.stem) - 6)}


class Told:
    """Remembers what it is told."""

    def __init__(self):
        self.steps, self.pictures, self.closed = [], [], False

    def numbers(self, step, values):
        self.steps.append((step, sorted(values)))

    def picture(self, step, path):
        self.pictures.append((step, path.name))

    def close(self):
        self.closed = True


def test_what_is_measured_is_told_and_makes_the_best(tmp_path):
    config = dataclasses.replace(CONFIG, sample_every=3, log_every=6, keep=2, best="score")
    told = Told()
    train(Measured(), config, tmp_path, writers=[told])
    logged = {"grad_norm", "grad_norm/bias", "grad_norm/weight", "loss", "lr", "x"}
    assert [step for step, _ in told.steps] == [0, 3, 6, 6, 9, 12, 12]
    assert logged <= set(told.steps[2][1])
    assert told.steps[0][1] == ["score"]
    assert told.pictures[-1] == (12, "0000012.png")
    assert told.closed
    assert torch.load(tmp_path / "best.pt", weights_only=True)["step"] == 6
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "0000008.pt",
        "0000012.pt",
    ]


def test_a_constant_rate_stays():
    config = dataclasses.replace(CONFIG, schedule="constant")
    assert learning_rate(0, config) == pytest.approx(1e-2 / 3)
    assert learning_rate(3, config) == learning_rate(11, config) == 1e-2


@pytest.mark.parametrize(("step", "rate"), [(0, 1e-2 / 3), (3, 1e-2), (12, 0.05 * 1e-2)])
def test_learning_rate(step, rate):
    assert learning_rate(step, CONFIG) == pytest.approx(rate)


def test_a_full_disk_names_the_picture(tmp_path):
    class Full(Line):
        def sample(self, path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputError, match=r"cannot write .*0000006.png: no space left"):
        train(Full(), CONFIG, tmp_path)


def test_a_checkpoint_of_another_model_is_one_line(tmp_path):
    class Wide(Line):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(3, 5)

    train(Line(), CONFIG, tmp_path)
    with pytest.raises(CheckpointError, match="weight is 2x3 in it, and 5x3 is asked for"):
        train(Wide(), CONFIG, tmp_path)
    without = dataclasses.replace(CONFIG, ema=0.0, rates={"weight": 2.0})
    with pytest.raises(CheckpointError, match="weight is 2x3 in it, and none is asked for"):
        train(Line(), without, tmp_path)
    with pytest.raises(CheckpointError, match="its optimiser is of other options"):
        train(Line(), dataclasses.replace(CONFIG, rates={"weight": 2.0}), tmp_path)
