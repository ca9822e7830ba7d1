from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.loaders.ip_adapter import IPAdapterMixin
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from gligen.inject import GroundedProcessor
from grounding.errors import CheckpointError, PromptError
from grounding.prompt import GroundedPrompt
from pipelines.generation.companions import ip_adapter as module
from pipelines.generation.generator import Generator
from tests.pipelines.generation.companions.conftest import write_ip_adapter

PROMPT = GroundedPrompt(prompt="a toy")
SETTINGS = {"seed": 5, "steps": 2, "progress": False}


@pytest.fixture(scope="module")
def load(model_folder: Path):
    return lambda name, **options: Generator.from_pretrained(
        model_folder, device="cpu", ip_adapter=name, **options
    )


def pixels(pictures):
    return np.asarray(pictures[0].image).astype(int)


def test_pictures_and_weights_matter(load, ip_adapter, photo, edges):
    generator = load(str(ip_adapter))
    images = (None, f"{photo}=0", f"{photo}=0.3", str(photo), str(edges))
    drawn = [pixels(generator(PROMPT, ip_image=image, **SETTINGS)) for image in images]
    assert np.array_equal(drawn[0], drawn[1])
    assert len({picture.tobytes() for picture in drawn}) == 4


def test_the_negative_half_sees_nothing(load, ip_adapter, photo):
    generator = load(str(ip_adapter))
    cues = generator.company.cues((), f"{photo}=0.5", (8, 8), lambda _: None)
    [likeness] = generator.company.at_work([cues, cues])
    call = {"encoder_hidden_states": None, "added_cond_kwargs": {"time_ids": 1}}
    for batch in (4, 2):
        given = likeness(torch.zeros(batch, 4, 8, 8), torch.tensor(0), call)["added_cond_kwargs"]
        [embeds] = given["image_embeds"]
        assert given["time_ids"] == 1
        assert embeds.shape == (batch, 1, 12)
        assert bool(embeds[:2].any()) == (batch == 2)
        assert embeds[-2:].any()


def test_diffusers_own_loader_works_on_a_gated_unet(generator, ip_adapter, model_folder):
    """It raises KeyError on the gated UNets of diffusers' own GLIGEN."""

    class Loader(IPAdapterMixin):
        unet = generator.base.unet

    before = dict(generator.base.unet.attn_processors)
    assert any(isinstance(one, GroundedProcessor) for one in before.values())
    state = load_file(ip_adapter)
    nested = {
        head: {k.removeprefix(f"{head}."): v for k, v in state.items() if k.startswith(head)}
        for head in ("image_proj", "ip_adapter")
    }
    Loader().load_ip_adapter(nested, subfolder="", weight_name="", image_encoder_folder=None)
    try:
        adapter, unet = generator.adapter, generator.base.unet
        call = {
            "encoder_hidden_states": torch.randn(1, 6, 16),
            "added_cond_kwargs": {"image_embeds": [torch.randn(1, 1, 12)]},
            "return_dict": False,
        }
        latents = torch.randn(1, 4, 8, 8)
        with torch.no_grad():
            plain = unet(latents, 1, **call)[0]
            with adapter.grounded(adapter.null_tokens(1) + 1):
                assert not torch.equal(unet(latents, 1, **call)[0], plain)
    finally:
        Loader().unload_ip_adapter()
        generator.base.unet.set_attn_processor(before)


def test_the_image_encoder_may_lie_elsewhere(load, ip_adapter, unet, tmp_path, photo):
    elsewhere = write_ip_adapter(tmp_path / "other", unet).parent
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(ip_adapter.read_bytes())
    with pytest.raises(CheckpointError, match="--image-encoder"):
        load(str(alone))
    expected = pixels(load(str(ip_adapter))(PROMPT, ip_image=str(photo), **SETTINGS))
    for place in (elsewhere, elsewhere / "image_encoder"):
        found = load(str(alone), image_encoder=place)
        assert np.array_equal(pixels(found(PROMPT, ip_image=str(photo), **SETTINGS)), expected)


def kinds(width: int, tokens: int) -> dict[str, dict[str, torch.Tensor]]:
    """Projections of every kind: reading pooled pictures of a width, or tokens of another."""
    torch.manual_seed(0)
    resampler = {
        "latents": torch.randn(1, 4, 8),
        "proj_in.weight": torch.randn(8, tokens),
        "proj_in.bias": torch.zeros(8),
        "proj_out.weight": torch.randn(16, 8),
        "proj_out.bias": torch.zeros(16),
        "norm_out.weight": torch.ones(16),
        "norm_out.bias": torch.zeros(16),
    }
    for layer in range(4):
        for norm in ("0.norm1", "0.norm2", "1.0"):
            resampler[f"layers.{layer}.{norm}.weight"] = torch.ones(8)
            resampler[f"layers.{layer}.{norm}.bias"] = torch.zeros(8)
        resampler |= {
            f"layers.{layer}.0.to_q.weight": torch.randn(64, 8),
            f"layers.{layer}.0.to_kv.weight": torch.randn(128, 8),
            f"layers.{layer}.0.to_out.weight": torch.randn(8, 64),
            f"layers.{layer}.1.1.weight": torch.randn(32, 8),
            f"layers.{layer}.1.3.weight": torch.randn(8, 32),
        }
    plain = {"proj.weight": torch.randn(64, width), "proj.bias": torch.zeros(64)}
    plain |= {"norm.weight": torch.ones(16), "norm.bias": torch.zeros(16)}
    full = {"proj.0.weight": torch.randn(tokens, tokens), "proj.0.bias": torch.zeros(tokens)}
    full |= {"proj.2.weight": torch.randn(16, tokens), "proj.2.bias": torch.zeros(16)}
    full |= {"proj.3.weight": torch.ones(16), "proj.3.bias": torch.zeros(16)}
    return {"plain": plain, "plus": resampler, "full-face": full}


def write_kind(path: Path, layers: Path, kind: str, *, width: int = 12, tokens: int = 8) -> Path:
    state = {k: v for k, v in load_file(layers).items() if k.startswith("ip_adapter.")}
    state |= {f"image_proj.{k}": v for k, v in kinds(width, tokens)[kind].items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)
    return path


@pytest.mark.parametrize("kind", ["plain", "plus", "full-face"])
def test_widths_are_checked_before_anything_runs(load, ip_adapter, kind, tmp_path, photo):
    right = write_kind(tmp_path / "right.safetensors", ip_adapter, kind)
    generator = load(str(right), image_encoder=ip_adapter.parent)
    drawn = [pixels(generator(PROMPT, ip_image=f"{photo}={w}", **SETTINGS)) for w in (0, 1)]
    assert not np.array_equal(*drawn)
    with Image.open(photo) as picture:
        shown = generator.company.ip_adapter.shown(picture.convert("RGB")).picture
    # The other kinds read 4 patches and the class token.
    assert shown.shape == ((1, 1, 12) if kind == "plain" else (1, 1, 5, 8))
    wrong = write_kind(tmp_path / "wrong.safetensors", ip_adapter, kind, width=1024, tokens=1280)
    with pytest.raises(CheckpointError, match="reads pictures in 1[0-9]+ channels") as refused:
        load(str(wrong), image_encoder=ip_adapter.parent)
    assert "such as h94/IP-Adapter/models/image_encoder" in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(
        CheckpointError, match=f"gives {12 if kind == 'plain' else 8}; name its own"
    ):
        load(
            str(write_kind(tmp_path / "odd.safetensors", ip_adapter, kind, width=7, tokens=6)),
            image_encoder=ip_adapter.parent,
        )


def vision_tower(folder: Path, hidden: int, projected: int) -> dict[str, bytes]:
    config = CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
        projection_dim=projected,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("kind", ["plain", "plus"])
def test_the_right_encoder_is_found_on_the_hub(
    load, ip_adapter, kind, tmp_path, loopback_hub, monkeypatch, photo
):
    """SDXL's vit-h files lie beside the encoder of others."""
    towers = {"models": (8, 12), "sdxl_models": (10, 14)}
    files = {}
    for folder, (hidden, projected) in towers.items():
        for name, data in vision_tower(tmp_path / folder, hidden, projected).items():
            files[f"{folder}/image_encoder/{name}"] = data
    other = write_kind(tmp_path / "x.safetensors", ip_adapter, kind)
    files["sdxl_models/ip-adapter_vit-h.safetensors"] = other.read_bytes()
    loopback_hub.put("h94/IP-Adapter", files)
    right = "h94/IP-Adapter/models/image_encoder"
    monkeypatch.setattr(module, "POOLED", {12: right})
    monkeypatch.setattr(module, "TOKENS", {8: right})
    name = "h94/IP-Adapter/sdxl_models/ip-adapter_vit-h.safetensors"
    expected = load(str(other), image_encoder=str(tmp_path / "models"))
    drawn = pixels(expected(PROMPT, ip_image=str(photo), **SETTINGS))
    for options in ({}, {"offline": True}, {"image_encoder": right}):
        found = load(name, **options)
        assert found.company.ip_adapter.encoder.config.hidden_size == 8
        assert np.array_equal(pixels(found(PROMPT, ip_image=str(photo), **SETTINGS)), drawn)
    asked = {path for _, path, _ in loopback_hub.requests if path.endswith(".safetensors")}
    assert not any("sdxl_models/image_encoder" in path for path in asked)
    alone = load(str(other))  # a file of one's own, with nothing beside it
    assert alone.company.ip_adapter.encoder.config.hidden_size == 8


def test_a_copy_of_the_repository(load, ip_adapter, tmp_path):
    vision_tower(tmp_path / "models" / "image_encoder", 8, 12)
    vision_tower(tmp_path / "sdxl_models" / "image_encoder", 10, 14)
    name = write_kind(tmp_path / "sdxl_models" / "plus.safetensors", ip_adapter, "plus")
    assert load(str(name)).company.ip_adapter.encoder.config.hidden_size == 8


def test_requests_and_files_that_do_not_serve(load, ip_adapter, generator, photo, tmp_path):
    with pytest.raises(PromptError, match="only an IP-Adapter reads it"):
        generator.stream(PROMPT, ip_image=str(photo))
    state = load_file(ip_adapter)
    layers = {key: tensor for key, tensor in state.items() if key.startswith("ip_adapter.")}
    first = next(iter(layers))

    def faces():
        return {f"image_proj.{k}": v for k, v in kinds(12, 512)["full-face"].items()}

    for bad, said in (
        ({**state, "other": torch.zeros(1)}, "not an IP-Adapter"),
        ({k: v for k, v in state.items() if k != first}, "another model"),
        ({**state, first: torch.zeros(3, 3)}, "another model"),
        ({"image_proj.norm.weight": torch.zeros(1)}, "face ids"),
        ({**state, "image_proj.proj.weight": torch.zeros(64, 7)}, "reads pictures in 7 channels"),
        ({**state, "image_proj.proj.weight": torch.zeros(256, 12)}, "another model"),
        ({**state, "image_proj.norm.weight": torch.zeros(2048)}, "Stable Diffusion XL; the model"),
        ({**layers, "image_proj.x": torch.zeros(1)}, "of an unknown kind"),
        ({**layers, **faces(), "image_proj.norm.weight": torch.zeros(16)}, "FaceID"),
        ({**layers, **faces()}, "InstantID"),
        ({**state, "ip_adapter.1.to_k_lora.down.weight": torch.zeros(1)}, "FaceID"),
        ({"emb_params": torch.zeros(1, 4)}, "but a textual inversion"),
    ):
        save_file(bad, tmp_path / "bad.safetensors")
        with pytest.raises(CheckpointError, match=said):
            load(str(tmp_path / "bad.safetensors"), image_encoder=ip_adapter.parent)
    with pytest.raises(CheckpointError, match="is one file"):
        load(str(tmp_path))
