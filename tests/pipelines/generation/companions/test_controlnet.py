import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from grounding.errors import CheckpointError, LavallamaError, PromptError
from grounding.prompt import GroundedPrompt
from pipelines.generation.companions.controlnet import read_control
from pipelines.generation.generator import Generator
from pipelines.generation.maps import canny_edges

PROMPT = GroundedPrompt(prompt="a toy")
SETTINGS = {"seed": 5, "steps": 2, "progress": False}


@pytest.fixture(scope="module")
def load(model_folder: Path):
    return lambda *names: Generator.from_pretrained(model_folder, device="cpu", controlnets=names)


def pixels(pictures):
    return np.asarray(pictures[0].image).astype(int)


def test_residuals_are_those_of_the_net_on_both_halves(load, controlnet, edges):
    """Against diffusers' models, called by hand."""
    generator = load(str(controlnet))
    net, unet = generator.company.controlnets[0], generator.base.unet
    cues = generator.company.cues([f"{edges}=0.5"], None, (5, 7), lambda _: None)
    torch.manual_seed(0)
    latents, context = torch.randn(2, 4, 5, 7), torch.randn(2, 6, 16)
    call = {"encoder_hidden_states": context, "added_cond_kwargs": {}}
    with torch.no_grad():
        [control] = generator.company.at_work([cues])
        ours = unet(latents, 3, **control(latents, torch.tensor(3), call), return_dict=False)[0]
        both = cues.maps[0].expand(2, -1, -1, -1)
        down, middle = net.model(latents, 3, context, both, 0.5, return_dict=False)
        theirs = unet(
            latents,
            3,
            context,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]
    assert torch.equal(ours, theirs)


def test_two_nets_add_up(load, controlnet, edges):
    one, two = load(str(controlnet)), load(str(controlnet), str(controlnet))
    drawn = pixels(one(PROMPT, controls=[f"{edges}=1.0"], **SETTINGS))
    halves = pixels(two(PROMPT, controls=[f"{edges}=0.5", f"{edges}=0.5"], **SETTINGS))
    assert np.abs(drawn - halves).max() <= 1


def test_maps_are_files_or_the_edges_of_a_picture(load, controlnet, photo):
    generator = load(str(controlnet))
    net = generator.company.controlnets[0]
    drawn = read_control(f"canny:{photo}", net, (8, 6))
    assert drawn.shape == (1, 3, 32, 24)
    with Image.open(photo) as image:
        expected = canny_edges(image.convert("RGB").resize((24, 32), Image.Resampling.LANCZOS))
    assert np.array_equal(drawn[0, 0].numpy() * 255, expected)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    plain = pixels(load()(PROMPT, **SETTINGS))
    steered = pixels(generator(PROMPT, controls=[f"canny:{photo}"], **SETTINGS))
    assert np.abs(plain - steered).max() > 3


def test_requests_that_cannot_be(load, controlnet, edges, caplog):
    generator = load(str(controlnet))
    with pytest.raises(PromptError, match="1 are loaded, and 2 maps"):
        generator.stream(PROMPT, controls=[str(edges)] * 2)
    with pytest.raises(PromptError, match="0 are loaded, and 1 maps"):
        load().stream(PROMPT, controls=[str(edges)])
    with pytest.raises(PromptError, match="no such file"):
        generator.stream(PROMPT, controls=["nothing.png"])
    with pytest.raises(LavallamaError, match="given no map"):
        generator.stream(PROMPT, strict=True)
    with pytest.raises(PromptError, match="FILE=WEIGHT"):
        generator.stream(PROMPT, controls=[f"{edges}=nan"])


def test_files_that_do_not_serve(load, controlnet, model_folder, tmp_path):
    with pytest.raises(CheckpointError, match="expected a ControlNet or T2I-Adapter in it"):
        load(str(tmp_path))
    with pytest.raises(CheckpointError, match="or T2IAdapter, got UNet2D"):
        load(str(model_folder / "unet"))
    config = json.loads((controlnet / "config.json").read_text())
    for change in ({"cross_attention_dim": 24}, {"block_out_channels": [8, 24]}):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(CheckpointError, match=f"UNet of another {next(iter(change))}"):
            load(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="expected diffusion_pytorch_model"):
        load(str(tmp_path))


def test_a_file_alone_is_the_same_net(load, controlnet, edges, tmp_path):
    file = controlnet / "diffusion_pytorch_model.safetensors"
    (tmp_path / "net.safetensors").write_bytes(file.read_bytes())
    expected = pixels(load(str(controlnet))(PROMPT, controls=[str(edges)], **SETTINGS))
    for name in (tmp_path / "net.safetensors", tmp_path):
        drawn = pixels(load(str(name))(PROMPT, controls=[str(edges)], **SETTINGS))
        assert np.array_equal(drawn, expected)
