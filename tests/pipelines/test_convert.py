"""The command that takes adapters from layout to layout."""

import pytest
import torch

from pipelines import convert
from tests.weights import test_gligen_variants as variants
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


@pytest.mark.parametrize(("variant", "layout"), [("depth", "official"),
                                                 ("text_image_inpaint", "diffusers")])  # fmt: skip
def test_other_modalities_go_there_and_back(tmp_path, variant, layout):
    adapter = variants.made(variant, tiny.unet(), torch.float16)
    own = gligen.save_pretrained(adapter, tmp_path / "own")
    there, back = tmp_path / "x.safetensors", tmp_path / "back"
    if layout == "official":
        there = there.with_suffix(".bin")
    assert convert.main([str(own), "--layout", layout, "--out", str(there)]) == 0
    assert convert.main([str(there), "--layout", "lavallama", "--out", str(back)]) == 0
    read, config = gligen.read_adapter(back)
    assert tiny.same(read, adapter.state_dict())
    assert config == adapter.config


def test_a_file_that_does_not_say_its_map_is_told_by_an_option(tmp_path, capsys):
    adapter = variants.made("depth", tiny.unet())
    there = gligen.write_adapter(
        adapter.state_dict(), adapter.config, tmp_path / "x.bin", layout="official"
    )
    torch.save({"model": torch.load(there, weights_only=True)["model"]}, there)
    arguments = [str(there), "--layout", "lavallama", "--out", str(tmp_path / "own")]
    assert convert.main(arguments) == 2
    assert "name the modality" in capsys.readouterr().err
    assert convert.main([*arguments, "--modality", "depth"]) == 0
    assert gligen.read_adapter(tmp_path / "own")[1].modality == "depth"


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
