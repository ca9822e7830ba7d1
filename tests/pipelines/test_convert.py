"""The command that takes adapters from layout to layout."""

import pytest
import torch

from pipelines import convert
from tests.weights import tiny
from weights import gligen


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "mine"
    adapter = tiny.adapter(tiny.unet(), torch.float16)
    return gligen.save_pretrained(adapter, folder), adapter.state_dict()


@pytest.mark.parametrize(
    ("layout", "name"),
    [("official", "a.bin"), ("comfyui", "a.safetensors"), ("diffusers", "b.safetensors")],
)
def test_there_and_back_bit_for_bit(made, tmp_path, capsys, layout, name):
    folder, state = made
    there, back = tmp_path / name, tmp_path / "back"
    assert convert.main([str(folder), "--layout", layout, "--out", str(there)]) == 0
    assert capsys.readouterr().out.strip() == str(there)
    assert convert.main([str(there), "--layout", "lavallama", "--out", str(back)]) == 0
    assert tiny.same(gligen.read_adapter(back)[0], state)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere/at/all", "--layout", "comfyui"], "nowhere/at/all"),
        (["embedded", "--layout", "comfyui"], "use 'lavallama'"),
        (["embedded", "--layout", "comfyui", "--base", "embedded"], "leave it out"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, capsys, arguments, said):
    out = tmp_path / "x.safetensors"
    assert convert.main([*arguments, "--out", str(out), "--offline"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not out.exists()
