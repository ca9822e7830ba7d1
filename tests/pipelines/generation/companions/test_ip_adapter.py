from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.loaders.ip_adapter import IPAdapterMixin
from PIL import Image
from safetensors.torch import load_file, save_file

from gligen.inject import GroundedProcessor
from grounding.errors import CheckpointError, PromptError
from grounding.prompt import GroundedPrompt
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


def test_full_faces_read_all_tokens_of_the_picture(load, ip_adapter, tmp_path, photo):
    """The variants that read CLIP's tokens: here the one with an MLP ("full face")."""
    state = {k: v for k, v in load_file(ip_adapter).items() if k.startswith("ip_adapter.")}
    torch.manual_seed(0)
    state |= {
        "image_proj.proj.0.weight": torch.randn(8, 8),
        "image_proj.proj.0.bias": torch.randn(8),
        "image_proj.proj.2.weight": torch.randn(16, 8),
        "image_proj.proj.2.bias": torch.randn(16),
        "image_proj.proj.3.weight": torch.randn(16),
        "image_proj.proj.3.bias": torch.randn(16),
    }
    save_file(state, tmp_path / "full.safetensors")
    generator = load(str(tmp_path / "full.safetensors"), image_encoder=ip_adapter.parent)
    with Image.open(photo) as picture:
        shown = generator.company.ip_adapter.shown(picture.convert("RGB"))
    assert shown.picture.shape == (1, 1, 5, 8)  # 4 patches and the class token
    drawn = [pixels(generator(PROMPT, ip_image=f"{photo}={w}", **SETTINGS)) for w in (0, 1)]
    assert not np.array_equal(*drawn)


def test_requests_and_files_that_do_not_serve(load, ip_adapter, generator, photo, tmp_path):
    with pytest.raises(PromptError, match="only an IP-Adapter reads it"):
        generator.stream(PROMPT, ip_image=str(photo))
    state = load_file(ip_adapter)
    first = next(key for key in state if key.startswith("ip_adapter."))
    for bad, said in (
        ({**state, "other": torch.zeros(1)}, "not an IP-Adapter"),
        ({k: v for k, v in state.items() if k != first}, "another model"),
        ({**state, first: torch.zeros(3, 3)}, "another model"),
        ({"image_proj.norm.weight": torch.zeros(1)}, "face ids"),
        ({**state, "image_proj.proj.weight": torch.zeros(64, 7)}, "reads pictures in 7 channels"),
    ):
        save_file(bad, tmp_path / "bad.safetensors")
        with pytest.raises(CheckpointError, match=said):
            load(str(tmp_path / "bad.safetensors"), image_encoder=ip_adapter.parent)
    with pytest.raises(CheckpointError, match="is one file"):
        load(str(tmp_path))
