import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from grounding.errors import CheckpointError, LavallamaError
from grounding.prompt import GroundedPrompt
from pipelines.generation.generator import Generator
from tests.pipelines.generation.companions.conftest import layers_of, low_rank

PROMPT = GroundedPrompt(prompt="a toy")
SETTINGS = {"seed": 5, "steps": 2, "progress": False}


@pytest.fixture(scope="module")
def load(model_folder: Path):
    return lambda *loras: Generator.from_pretrained(model_folder, device="cpu", loras=loras)


def pixels(generator):
    return np.asarray(generator(PROMPT, **SETTINGS)[0].image).astype(int)


def test_kohyas_layout_is_the_same_lora(load, lora, kohya):
    ours, theirs = load(str(lora)), load(str(kohya))
    drawn = pixels(ours)
    assert np.array_equal(drawn, pixels(theirs))
    assert not np.array_equal(drawn, pixels(load()))


def test_a_layer_adds_weight_times_b_times_a(load, lora, unet):
    """Hu et al., section 4.1, with alpha = rank."""
    twice = load(f"{lora}=0.5", f"{lora}=-0.25").base.unet
    torch.manual_seed(0)
    for seed, (path, layer) in enumerate(layers_of(unet).items()):
        a, b = low_rank(layer, seed)
        x = torch.randn(3, layer.in_features)
        expected = layer(x) + 0.25 * x @ a.T @ b.T
        assert torch.allclose(twice.get_submodule(path)(x), expected, rtol=1e-4, atol=1e-4)


def test_text_encoders_are_changed_too(load, lora, text_encoder):
    changed = load(str(lora)).base.text_encoder
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        assert not torch.allclose(changed(ids)[0], text_encoder(ids)[0], atol=1e-2)
    assert not any(p.requires_grad for p in changed.parameters())


def test_a_folder_with_one_lora(load, lora, tmp_path):
    state = load_file(lora)
    save_file(state, tmp_path / "a.safetensors")
    assert load(str(tmp_path)).company.loras[0].state.keys() == state.keys()
    save_file(state, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="name the file"):
        load(str(tmp_path))


def test_files_that_do_not_serve(load, lora, kohya, tmp_path):
    state = load_file(lora)
    first = next(key for key in state if key.startswith("unet."))
    other = {**state, "unet.nowhere.to_q.lora_A.weight": torch.zeros(2, 8)}
    wide = {**state, first: torch.zeros(2, 999)}
    stray = {**state, "vae.x.lora_A.weight": torch.zeros(2, 8)}
    dora = {**state, "unet.x.dora_scale": torch.zeros(1)}
    extra = {**load_file(kohya), "lora_unet_mid.weight": torch.zeros(2)}
    for bad, said in (
        (other, "nowhere.to_q"),
        (wide, "does not fit at"),
        (stray, "not a LoRA of a UNet"),
        (dora, "is a DoRA"),
        (extra, "not a LoRA in diffusers' or kohya's layout"),
        ({"x": torch.zeros(1)}, "not a LoRA"),
    ):
        save_file(bad, tmp_path / "bad.safetensors")
        with pytest.raises(CheckpointError, match=said) as refused:
            load(str(tmp_path / "bad.safetensors"))
        assert "\n" not in str(refused.value)
    (tmp_path / "cut.safetensors").write_bytes(lora.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        load(str(tmp_path / "cut.safetensors"))
    with pytest.raises(CheckpointError, match="no such file or folder"):
        load("nothing.safetensors=0.5")


def test_without_peft_one_line_says_what_to_install(load, lora, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "peft" else found(name, *a)
    )
    with pytest.raises(LavallamaError, match=r"pip install 'lavallama\[lora\]'"):
        load(str(lora))
