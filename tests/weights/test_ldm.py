import re

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
from weights.left_out import why_left_out
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


def saved(state, folder):
    folder.mkdir(exist_ok=True)
    torch.save({"state_dict": state}, folder / "sd.ckpt")
    return folder / "sd.ckpt"


def parts_of(state, folder):
    return read_checkpoint(TensorFile(saved(state, folder))).parts


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
        ("edm_vpred.sigma_max", r"edm_vpred.sigma_max says that it learnt CosXL's noise \(EDM"),
        ("edm_mean", "edm_mean says that it learnt Playground v2.5's noise"),
        ("cond_stage_model.transformer.embeddings.token_embedding.weight", "are the same param"),
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
        ("first_stage_model.encoder.conv_in.", "missing encoder.conv_in.weight"),
        ("cond_stage_model.transformer.text_model.embeddings.", "missing embeddings.token"),
    ],
)
def test_missing_parts_are_named(checkpoint, tmp_path, prefix, named):
    rest = {key: value for key, value in checkpoint.items() if not key.startswith(prefix)}
    with pytest.raises(CheckpointError, match=named) as caught:
        parts_of(rest, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda key: f"module.{key}",
        lambda key: f"model.{key}",
        lambda key: f"state_dict.{key}",
        lambda key: key.replace("model.diffusion_model.", "model.diffusion_model._orig_mod."),
        lambda key: f"module._orig_mod.{key}",
        lambda key: key.replace("model.diffusion_model.", "diffusion_model."),
        lambda key: key.replace("first_stage_model.", "vae."),
        lambda key: key.replace("cond_stage_model.", "cond_stage_model.model."),
        lambda key: re.sub(r"attn_1\.([qkv])\.", r"attn_1.to_\1.", key),
        lambda key: key.replace("attn_1.proj_out", "attn_1.to_out.0").replace(
            "attn_1.norm.", "attn_1.group_norm."
        ),
    ],
)
def test_wrapped_and_foreign_names_are_the_same_tensors(checkpoint, tmp_path, wrap):
    wrapped = {wrap(key): value for key, value in checkpoint.items()}
    assert wrapped.keys() != checkpoint.keys()
    states = []
    for state in (checkpoint, wrapped):
        file = TensorFile(saved(state, tmp_path / str(len(states))))
        parts = read_checkpoint(file).parts
        states.append({name: (part.config, part.read(file)) for name, part in parts.items()})
    for (config, state), (expected, read) in zip(*(s.values() for s in states), strict=True):
        assert config == expected
        assert tiny.same(state, read)


@pytest.mark.parametrize(
    "nest", [("model",), ("state_dict",), ("model", "state_dict"), ("module",)]
)
def test_nested_state_dicts_are_read(checkpoint, tmp_path, nest):
    expected = parts_of(checkpoint, tmp_path)["vae"].names.values()
    content: dict = dict(checkpoint)
    for name in nest:
        content = {name: content}
    callbacks = {"EarlyStopping": {"best": torch.ones(1), "patience": 3}}
    optimiser = {"state": {0: {"exp_avg": torch.ones(1)}}}
    torch.save({**content, "callbacks": callbacks, "optimizer": optimiser}, tmp_path / "n.ckpt")
    parts = read_checkpoint(TensorFile(tmp_path / "n.ckpt")).parts
    assert list(parts["vae"].names.values()) == list(expected)


def test_a_vae_with_the_names_of_diffusers(models, checkpoint, tmp_path):
    _, vae, _ = models
    rest = {k: v for k, v in checkpoint.items() if not k.startswith("first_stage_model.")}
    theirs = {f"first_stage_model.{key}": value for key, value in vae.state_dict().items()}
    expected = parts_of(checkpoint, tmp_path)["vae"].config
    file = TensorFile(saved({**rest, **theirs}, tmp_path))
    part = read_checkpoint(file).parts["vae"]
    assert part.config == expected
    assert tiny.same(part.read(file), vae.state_dict())


def test_the_scale_that_latent_diffusion_measured(checkpoint, tmp_path):
    parts = parts_of({**checkpoint, "scale_factor": torch.tensor(0.5)}, tmp_path)
    assert parts["vae"].config["scaling_factor"] == 0.5


def test_what_is_left_out_is_named_and_nothing_else_is(checkpoint, tmp_path, caplog):
    beside = {
        "model_ema.diffusion_modelinput_blocks00weight": "averages of training",
        "alphas_cumprod": "the noise schedule",
        "first_stage_model.loss.logvar": "the autoencoder's loss",
        "cond_stage_model.logit_scale": "the projection and temperature",
        "cond_stage_model.transformer.text_projection.weight": "the projection and temperature",
    }
    with caplog.at_level("INFO"):
        parts_of({**checkpoint, **dict.fromkeys(beside, torch.ones(1))}, tmp_path)
    for kind in beside.values():
        assert kind in caplog.text
    assert why_left_out("model.diffusion_model.input_blocks.0.0.weight") is None
    for key in ("modelema.x", "xloss.y", "first_stage_model.lossy", "cond_stage_model.logit"):
        with pytest.raises(CheckpointError, match="unknown parameter"):
            parts_of({**checkpoint, key: torch.ones(1)}, tmp_path)


def test_other_channels_are_refused(checkpoint, tmp_path):
    key = "model.diffusion_model.input_blocks.0.0.weight"
    with pytest.raises(CheckpointError, match="takes 8 channels, expected 4, or 9"):
        parts_of({**checkpoint, key: torch.ones(32, 8, 3, 3)}, tmp_path)


def test_the_scheduler_is_that_of_stable_diffusion():
    from diffusers import PNDMScheduler

    alphas = PNDMScheduler.from_config(SD1_SCHEDULER).alphas_cumprod
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    torch.testing.assert_close(alphas, torch.cumprod(1 - betas, 0))
