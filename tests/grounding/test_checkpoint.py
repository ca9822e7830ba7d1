"""Checkpoints: the last ones, and the best."""

import torch

from grounding.checkpoint import BEST, LAST, Checkpoints


def states(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_last_ones_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.read() is None
    for step in (5, 10, 15):
        checkpoints.save({"step": step})
    assert states(tmp_path) == ["0000010.pt", "0000015.pt", LAST]
    assert checkpoints.read() == {"step": 15}


def test_one_alone_is_kept_if_no_more_are_wished(tmp_path):
    Checkpoints(tmp_path).save({"step": 5})
    assert states(tmp_path) == [LAST]


def test_the_best_is_remembered_over_a_restart(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.offer({"step": 1}, 0.5)
    checkpoints.offer({"step": 2}, 0.4)
    Checkpoints(tmp_path).offer({"step": 3}, 0.5)  # no better than the first
    assert torch.load(tmp_path / BEST, weights_only=True) == {"step": 1, "measured": 0.5}
    Checkpoints(tmp_path).offer({"step": 4}, 0.6)
    assert torch.load(tmp_path / BEST, weights_only=True)["step"] == 4
