from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import T2IAdapter, UNet2DConditionModel
from PIL import Image
from torch import nn

from grounding.errors import CheckpointError
from grounding.prompt import GroundedPrompt
from pipelines.generate import main
from pipelines.generation.companions.controlnet import load_control, read_control
from pipelines.generation.generator import Generator

PROMPT = GroundedPrompt(prompt="a toy")
SETTINGS = {"seed": 5, "steps": 2, "progress": False}


def write_adapter(folder: Path, **config) -> Path:
    torch.manual_seed(0)
    model = T2IAdapter(
        **{"channels": [8, 16], "num_res_blocks": 2, "downscale_factor": 8, **config}
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("t2i") / "grey", in_channels=1)


@pytest.fixture(scope="module")
def load(model_folder: Path):
    return lambda *names: Generator.from_pretrained(model_folder, device="cpu", controlnets=names)


def pixels(pictures):
    return np.asarray(pictures[0].image).astype(int)


def test_features_are_those_of_diffusers_on_both_halves(load, adapter, edges):
    generator = load(str(adapter))
    net, unet = generator.company.controlnets[0], generator.base.unet
    cues = generator.company.cues([f"{edges}=0.5"], None, (5, 7), lambda _: None)
    assert cues.maps[0].shape == (1, 1, 40, 56)
    torch.manual_seed(0)
    latents, context = torch.randn(2, 4, 5, 7), torch.randn(2, 6, 16)
    call = {"encoder_hidden_states": context, "added_cond_kwargs": {}}
    with torch.no_grad():
        [features] = generator.company.at_work([cues])
        ours = unet(latents, 3, **features(latents, torch.tensor(3), call), return_dict=False)[0]
        seen = [0.5 * torch.cat([one] * 2) for one in net.model(cues.maps[0])]
        theirs = unet(
            latents, 3, context, down_intrablock_additional_residuals=seen, return_dict=False
        )[0]
        plain = unet(latents, 3, context, return_dict=False)[0]
    assert torch.equal(ours, theirs)
    assert not torch.allclose(ours, plain, atol=1e-3)


def test_beside_a_controlnet_and_another_of_its_kind(load, adapter, controlnet, edges):
    alone, both = load(str(adapter)), load(str(adapter), str(controlnet), str(adapter))
    drawn = pixels(alone(PROMPT, controls=[str(edges)], **SETTINGS))
    resting = pixels(both(PROMPT, controls=[f"{edges}=1", f"{edges}=0", f"{edges}=0"], **SETTINGS))
    assert np.array_equal(drawn, resting)
    halves = pixels(
        both(PROMPT, controls=[f"{edges}=0.5", f"{edges}=0", f"{edges}=0.5"], **SETTINGS)
    )
    assert np.abs(drawn - halves).max() <= 1
    everything = pixels(both(PROMPT, controls=[str(edges)] * 3, **SETTINGS))
    assert np.abs(drawn - everything).max() > 3


def test_the_file_alone_is_drawn_again(model_folder, adapter, edges, tmp_path, capsys):
    file = tmp_path / "t2i.safetensors"
    file.write_bytes((adapter / "diffusion_pytorch_model.safetensors").read_bytes())
    common = ["--no-overlay", "--device", "cpu", "--steps", "2"]
    given = ["--model", str(model_folder), "--controlnet", str(file), "--control", f"{edges}=0.7"]
    one, two = str(tmp_path / "a.png"), str(tmp_path / "b.png")
    assert main(["--prompt", "x", "--out", one, *given, *common]) == 0
    assert main(["--from-image", one, "--out", two, "--trust", *common]) == 0
    assert "lavallama generate:" not in capsys.readouterr().err
    assert np.array_equal(*(np.asarray(load_image(name)) for name in (one, two)))


def load_image(name: str):
    with Image.open(name) as image:
        return image.copy()


@pytest.mark.parametrize("grid", [(8, 8), (5, 7), (6, 9)])
def test_sdxl_halves_as_its_unet_does(grid, tmp_path, edges):
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 24),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    ).requires_grad_(False)
    folder = write_adapter(
        tmp_path,
        in_channels=3,
        channels=[8, 16, 24, 24],
        downscale_factor=16,
        adapter_type="full_adapter_xl",
    )
    base = SimpleNamespace(unet=unet)
    net = load_control(str(folder), base, device="cpu", dtype=torch.float32)
    features = net.at_work(read_control(str(edges), net, grid), 1.0)
    latents = torch.randn(2, 4, *grid)
    call = {"encoder_hidden_states": torch.randn(2, 6, 16), "added_cond_kwargs": {}}
    given = features(latents, torch.tensor(3), call)
    left = given["down_intrablock_additional_residuals"]
    assert len(left) == 4
    steered = unet(latents, 3, **given, return_dict=False)[0]
    assert not left  # each found its level, the middle too
    assert not torch.allclose(steered, unet(latents, 3, **call, return_dict=False)[0], atol=1e-3)


def test_adapters_of_other_models_are_refused(load, tmp_path):
    for name, config in (
        ("wide", {"channels": [8, 24]}),
        ("deep", {"channels": [8, 16, 16]}),
        ("large", {"adapter_type": "full_adapter_xl", "downscale_factor": 16}),
    ):
        write_adapter(tmp_path / name, in_channels=3, **config)
        with pytest.raises(CheckpointError, match="is for another model"):
            load(str(tmp_path / name))
