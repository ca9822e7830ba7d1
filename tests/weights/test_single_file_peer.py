"""Single files as diffusers' `from_single_file` reads them: the same tensors."""

import json

import pytest
import torch
from diffusers import PNDMScheduler, StableDiffusionPipeline
from safetensors.torch import save_file

from tests.weights import test_families as families
from tests.weights import tiny
from weights.base import load_base


def checkpoint(family):
    """A UNet, and the tensors of a single file with it."""
    if family == "sd2":
        torch.manual_seed(1)
        shape = (families.WIDTH, 24, tiny.VOCABULARY, families.LENGTH, families.WIDTH)
        unet = families.made("sd2")
        return unet, families.checkpoint("sd2", unet, families.OpenClipText(*shape))
    unet = tiny.unet()
    return unet, {
        **{f"model.diffusion_model.{k}": v for k, v in tiny.official_unet(unet).items()},
        **{f"first_stage_model.{k}": v for k, v in tiny.official_vae(tiny.vae()).items()},
        **{f"cond_stage_model.{k}": v for k, v in tiny.official_text(tiny.text_encoder()).items()},
    }


def write_configs(base, folder):
    """The folder that diffusers would have from the hub: configs and a tokenizer, no weights."""
    index: dict = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "PNDMScheduler"],
    }
    base.unet.save_config(folder / "unet")
    base.vae.save_config(folder / "vae")
    base.text_encoder.config.save_pretrained(folder / "text_encoder")
    tiny.write_tokenizer(folder / "tokenizer")
    PNDMScheduler(beta_schedule="scaled_linear").save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(index))


# Tiny SDXLs are not among them: diffusers tells its text encoders apart by their widths.
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_diffusers_reads_the_same_tensors(family, tmp_path):
    unet, state = checkpoint(family)
    tiny.write_tokenizer(tmp_path / "tokenizer")
    path = tmp_path / "model.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    base = load_base(path, offline=True)
    assert tiny.same(base.unet.state_dict(), unet.state_dict())
    write_configs(base, tmp_path / "configs")
    theirs = StableDiffusionPipeline.from_single_file(
        str(path), config=str(tmp_path / "configs"), local_files_only=True
    )
    for name in ("unet", "vae", "text_encoder"):
        state = getattr(theirs, name).state_dict()
        state = {key: value for key, value in state.items() if not key.endswith("position_ids")}
        assert tiny.same(getattr(base, name).state_dict(), state), name
