"""Checkpoints: the last ones, and the best."""

from pathlib import Path

import pytest
import torch

from grounding.checkpoint import BEST, LAST, Checkpoints, check_fit
from grounding.errors import CheckpointError, OutputError


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


def test_a_full_disk_is_one_line_and_the_one_before_stays(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"step": 5})

    def full(state, path):
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos\nframe 0")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(OutputError) as error:
        checkpoints.save({"step": 6})
    assert str(error.value).startswith(f"cannot write {tmp_path / LAST}: ")
    assert "\n" not in str(error.value)
    assert states(tmp_path) == [LAST]
    assert checkpoints.read() == {"step": 5}


@pytest.mark.parametrize("content", [b"", b"PK\3\4half", b"none"])
def test_a_damaged_one_is_one_line(tmp_path, content):
    path = tmp_path / LAST
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint.pt: damaged"):
        Checkpoints(tmp_path).read()
    torch.save([1], path)
    with pytest.raises(CheckpointError, match="no checkpoint of a training run"):
        Checkpoints(tmp_path).read()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"a": torch.zeros(8, 2)}, "a is 8x2 in it, and 4x2 is asked for"),
        ({}, "a is none in it, and 4x2"),
        ({"a": torch.zeros(4, 2), "b": torch.zeros(())}, "b is 1 in it, and none"),
    ],
)
def test_another_models_is_one_line(found, words):
    with pytest.raises(CheckpointError, match=words):
        check_fit(found, {"a": torch.zeros(4, 2)}, Path("run") / LAST)
