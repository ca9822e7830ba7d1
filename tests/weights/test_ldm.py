import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)

from grounding.errors import CheckpointError
from tests.weights import tiny
from weights.ldm import SD1_SCHEDULER, read_checkpoint
from weights.ldm_vae import vae_table
from weights.tensor_file import TensorFile


@pytest.fixture(scope="module")
def models():
    return tiny.unet(), tiny.vae(), tiny.text_encoder()


@pytest.fixture
def checkpoint(models):
    """The tensors of a Stable Diffusion 1.x `.ckpt`."""
    unet, vae, text = models
    return {
        **{f"model.diffusion_model.{k}": v for k, v in tiny.official_unet(unet).items()},
        **{f"first_stage_model.{k}": v for k, v in tiny.official_vae(vae).items()},
        **{f"cond_stage_model.{k}": v for k, v in tiny.official_text(text).items()},
        "betas": torch.ones(3),
        "model_ema.decay": torch.ones(1),
    }


def parts_of(state, folder):
    torch.save({"state_dict": state}, folder / "sd.ckpt")
    return read_checkpoint(TensorFile(folder / "sd.ckpt")).parts


def test_sizes_are_read_off_the_shapes(models, checkpoint, tmp_path):
    parts = parts_of(checkpoint, tmp_path)
    for part, model in zip(("unet", "vae", "text_encoder"), models, strict=True):
        config = model.config
        for key, value in parts[part].config.items():
            expected = getattr(config, key)
            expected = list(expected) if isinstance(expected, tuple) else expected
            if key != "sample_size":
                assert value == expected, (part, key)


def test_names_agree_with_diffusers_own_conversion(models, checkpoint, tmp_path):
    unet, vae, _ = models
    parts = parts_of(checkpoint, tmp_path)
    theirs = convert_ldm_unet_checkpoint(dict(checkpoint), dict(unet.config))
    mine = {name: checkpoint[key] for key, name in parts["unet"].names.items()}
    assert tiny.same(mine, theirs)
    theirs = convert_ldm_vae_checkpoint(dict(checkpoint), dict(vae.config))
    mine = {name: checkpoint[key] for key, name in parts["vae"].names.items()}
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[k].flatten(), theirs[k].flatten()) for k in mine)


def test_the_table_of_the_vae_is_one_to_one():
    table = vae_table(4, 2)
    assert len(set(table.values())) == len(table)


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("conditioner.embedders.0.model.x", "the refiner of Stable Diffusion XL in a single file"),
        ("text_encoders.x", "Stable Diffusion 3"),
        ("surplus.x", "unknown parameters surplus.x"),
        ("model.diffusion_model.input_blocks.99.0.in_layers.0.weight", "unknown parameter"),
        ("first_stage_model.encoder.surplus.weight", "unknown parameter encoder.surplus.weight"),
    ],
)
def test_surplus_parameters_are_named(checkpoint, tmp_path, key, named):
    with pytest.raises(CheckpointError, match=named) as caught:
        parts_of({**checkpoint, key: torch.ones(1)}, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prefix", "named"),
    [
        ("model.diffusion_model.", "no UNet with official names"),
        ("model.diffusion_model.out.", "missing out.2.weight"),
        ("model.diffusion_model.input_blocks.1.0.", "missing input_blocks.1.0.out_layers.3.weight"),
        ("first_stage_model.", "no VAE .*in it"),
        ("first_stage_model.encoder.conv_in.", "missing encoder.conv_in.weight"),
        ("cond_stage_model.", "no text encoder .*in it"),
        ("cond_stage_model.transformer.text_model.embeddings.", "missing embeddings.token"),
    ],
)
def test_missing_parts_are_named(checkpoint, tmp_path, prefix, named):
    rest = {key: value for key, value in checkpoint.items() if not key.startswith(prefix)}
    with pytest.raises(CheckpointError, match=named) as caught:
        parts_of(rest, tmp_path)
    assert "\n" not in str(caught.value)


def test_other_channels_are_refused(checkpoint, tmp_path):
    key = "model.diffusion_model.input_blocks.0.0.weight"
    with pytest.raises(CheckpointError, match="takes 8 channels, expected 4, or 9"):
        parts_of({**checkpoint, key: torch.ones(32, 8, 3, 3)}, tmp_path)


def test_the_scheduler_is_that_of_stable_diffusion():
    from diffusers import PNDMScheduler

    alphas = PNDMScheduler.from_config(SD1_SCHEDULER).alphas_cumprod
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    torch.testing.assert_close(alphas, torch.cumprod(1 - betas, 0))
