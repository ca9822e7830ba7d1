import argparse
import collections
import datetime
import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from grounding.errors import CheckpointError
from weights.pickles import read_pickle

CONFIG = {
    "model": {"target": "ldm.UNetModel", "params": {"image_size": 64, "fraction": 0.5}},
    "alpha_type": [0.3, 0.0, 0.7],
    "inpaint_mode": False,
    "ckpt": None,
}


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


class Opener(Bomb):
    def __reduce__(self):
        return (open, (str(self.path), "w"))


class Evaluator(Bomb):
    def __reduce__(self):
        return (eval, (f"open({str(self.path)!r}, 'w')",))


def official(path: Path, **save) -> Path:
    """Saved as GLIGEN's trainer saves: `config_dict` is `vars()` of an OmegaConf config."""
    content = {
        "model": {"a": torch.arange(3.0), "b": torch.ones(2, dtype=torch.float16)},
        "config_dict": vars(OmegaConf.create(CONFIG)),
        "iters": 500000,
    }
    torch.save(content, path, **save)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_omegaconf_is_read_as_plain_values(tmp_path, zipped):
    path = official(tmp_path / "a.bin", _use_new_zipfile_serialization=zipped)
    read = read_pickle(path)
    assert read["config_dict"]["_content"] == CONFIG
    assert read["iters"] == 500000
    assert read["model"]["b"].dtype == torch.float16
    assert torch.equal(read["model"]["a"], torch.arange(3.0))


def test_a_whole_config_object_is_read_too(tmp_path):
    torch.save({"config": OmegaConf.create(CONFIG)}, tmp_path / "a.pth")
    assert read_pickle(tmp_path / "a.pth") == {"config": CONFIG}


def test_parameter_dicts_are_read_as_dicts(tmp_path):
    """github.com/rinongal/textual_inversion keeps its vectors in one."""
    vectors = torch.arange(6.0).reshape(2, 3)
    held = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors), "b": torch.ones(1)})
    rows = torch.nn.ParameterList([torch.zeros(2)])
    content = {"string_to_param": held, "string_to_token": {"*": torch.tensor(265)}, "rows": rows}
    torch.save(content, tmp_path / "a.pt")
    read = read_pickle(tmp_path / "a.pt")
    assert list(read["string_to_param"]) == ["*", "b"]
    assert torch.equal(read["string_to_param"]["*"], vectors)
    assert torch.equal(read["rows"]["0"], torch.zeros(2))
    assert read["string_to_token"]["*"] == 265


class Settings(dict):
    """A dict by another name, with attributes, as configuration libraries have them."""

    __module__, __qualname__ = "easydict", "EasyDict"


@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_scripts_put_beside_the_weights_is_no_obstacle(tmp_path, monkeypatch, zipped):
    stand_in = types.ModuleType("easydict")
    stand_in.EasyDict = Settings  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "easydict", stand_in)
    settings = Settings(rate=0.5)
    vars(settings)["seen"] = True
    content = {
        "model": {"a": torch.ones(2)},
        "args": argparse.Namespace(lr=0.1, out=Path("runs/a"), device=torch.device("cpu")),
        "where": Path("a/b"),
        "when": datetime.datetime(2024, 1, 2),
        "settings": settings,
        "best": np.float64(0.5),
        "losses": np.ones(3),
        "torch": torch.__version__,
    }
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "easydict")
    read = read_pickle(tmp_path / "a.pt")
    assert torch.equal(read["model"]["a"], torch.ones(2))
    assert read["settings"] == {"rate": 0.5}
    assert {read[key] for key in ("args", "where", "when", "best", "losses")} == {None}


def test_code_inside_what_is_inert_is_refused(tmp_path):
    mark = tmp_path / "mark"
    torch.save({"args": argparse.Namespace(out=Bomb(mark))}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match="refused, nothing was executed"):
        read_pickle(tmp_path / "bad.pt")
    assert not mark.exists()


def test_omegaconf_is_never_imported(tmp_path, monkeypatch):
    path = official(tmp_path / "a.bin")
    for name in [name for name in sys.modules if name.split(".")[0] == "omegaconf"]:
        monkeypatch.setitem(sys.modules, name, None)  # an import of it is now an error
    assert read_pickle(path)["config_dict"]["_content"] == CONFIG


@pytest.mark.parametrize("bomb", [Bomb, Opener, Evaluator])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_not_run(tmp_path, bomb, zipped):
    mark, path = tmp_path / "mark", tmp_path / "bad.bin"
    torch.save({"model": bomb(mark)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="refused, nothing was executed") as caught:
        read_pickle(path)
    assert "\n" not in str(caught.value)
    assert any(word in str(caught.value) for word in ("system", "open", "eval"))
    assert not mark.exists()


def test_code_inside_an_omegaconf_value_is_refused(tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "bad.bin"
    config = OmegaConf.create({"a": 1})
    config.__dict__["_content"]["a"].__dict__["_val"] = Bomb(mark)
    torch.save({"config_dict": vars(config)}, path)
    with pytest.raises(CheckpointError, match="system"):
        read_pickle(path)
    assert not mark.exists()


def test_a_plain_pickle_of_objects_is_refused(tmp_path):
    path = tmp_path / "plain.bin"
    path.write_bytes(pickle.dumps(collections.ChainMap({})))
    with pytest.raises(CheckpointError) as caught:
        read_pickle(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken", b"\x80\x02}"])
def test_garbage_is_one_line(tmp_path, content):
    path = tmp_path / "garbage.bin"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="garbage.bin") as caught:
        read_pickle(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_one_line(tmp_path, zipped):
    path = official(tmp_path / "cut.bin", _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match="download or copy it again") as caught:
        read_pickle(path)
    assert "\n" not in str(caught.value)


def test_endless_nesting_is_one_line(tmp_path):
    ring: list = []
    ring.append(ring)
    torch.save({"model": ring}, tmp_path / "ring.bin")
    with pytest.raises(CheckpointError, match="nested without end"):
        read_pickle(tmp_path / "ring.bin")


def test_no_such_file(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_pickle(tmp_path / "none.bin")


def test_the_list_of_allowed_names_is_put_back(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    read_pickle(official(tmp_path / "a.bin"))
    assert set(torch.serialization.get_safe_globals()) == before
