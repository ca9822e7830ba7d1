"""Stable Diffusion 2.x, XL and inpainting in single files; SDXL's adapters in every layout."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors.torch import save_file
from torch import Tensor

from gligen.adapter import AdapterConfig, GligenAdapter
from grounding.errors import CheckpointError
from tests.weights import tiny
from tests.weights.open_clip import OpenClipText
from weights import gligen
from weights.base import load_base
from weights.keymap import UNetLayout, unet_table
from weights.ldm import read_checkpoint
from weights.ldm_unet import unet_part
from weights.open_clip import open_clip_part
from weights.prediction import find_prediction_type
from weights.tensor_file import TensorFile

WIDTH, LENGTH, PROJECTION = 64, 16, 24
SD2: dict[str, Any] = {
    "sample_size": 96,
    "block_out_channels": (32, 64, 128, 128),
    "layers_per_block": 2,
    "attention_head_dim": (1, 1, 2, 2),
    "use_linear_projection": True,
    "cross_attention_dim": WIDTH,
}
SDXL: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (32, 64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "attention_head_dim": (1, 1, 2),
    "transformer_layers_per_block": (1, 1, 2),
    "use_linear_projection": True,
    "cross_attention_dim": 2 * WIDTH,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": PROJECTION + 6 * 256,
}
FAMILIES = {"sd2": SD2, "sdxl": SDXL}


@cache
def made(family: str, **changes: Any) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(**{**FAMILIES[family], **changes})


@pytest.fixture(scope="module")
def tower() -> OpenClipText:
    torch.manual_seed(1)
    return OpenClipText(WIDTH, 24, tiny.VOCABULARY, LENGTH, PROJECTION).eval()


def official(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    back = {ours: theirs for theirs, ours in unet_table(UNetLayout.of(unet.config)).items()}
    return tiny.prefixed(unet.state_dict(), back)


def checkpoint(family: str, unet: UNet2DConditionModel, tower: OpenClipText) -> dict[str, Tensor]:
    """The tensors of a single file, with what people's files have beside."""
    words = {"sd2": "cond_stage_model.model", "sdxl": "conditioner.embedders.1.model"}[family]
    state = {
        **{f"model.diffusion_model.{k}": v for k, v in official(unet).items()},
        **{f"first_stage_model.{k}": v for k, v in tiny.official_vae(tiny.vae()).items()},
        **{f"{words}.{k}": v for k, v in tower.state_dict().items()},
        "betas": torch.ones(3),
        "model_ema.decay": torch.ones(1),
    }
    if family == "sdxl":
        text = tiny.official_text(tiny.text_encoder())
        state |= {f"conditioner.embedders.0.{k}": v for k, v in text.items()}
        state["denoiser.sigmas"] = torch.ones(3)
    return {key: value.detach().contiguous().clone() for key, value in state.items()}


def load(state: dict[str, Tensor], folder) -> Any:
    if not (folder / "tokenizer").exists():
        tiny.write_tokenizer(folder / "tokenizer")
    path = folder / "model.safetensors"
    path.unlink(missing_ok=True)  # another model may have it mapped into memory
    save_file(state, path)
    return load_base(path, offline=True)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_single_file_holds_what_its_parts_hold(family, tower, tmp_path):
    unet = made(family)
    base = load(checkpoint(family, unet, tower), tmp_path)
    assert tiny.same(base.unet.state_dict(), unet.state_dict())
    for name in FAMILIES[family]:
        value, wanted = base.unet.config[name], FAMILIES[family][name]
        assert (tuple(value) if isinstance(value, list) else value) == wanted, name
    assert base.adapter_source is None
    assert not base.inpaints
    assert base.zero_negative == (family == "sdxl")
    assert base.vae.config.scaling_factor == {"sd2": 0.18215, "sdxl": 0.13025}[family]


@pytest.mark.parametrize("family", list(FAMILIES))
def test_names_agree_with_diffusers_own_conversion(family, tower, tmp_path):
    unet = made(family)
    state = checkpoint(family, unet, tower)
    torch.save(state, tmp_path / "model.ckpt")
    part = read_checkpoint(TensorFile(tmp_path / "model.ckpt")).parts["unet"]
    theirs = convert_ldm_unet_checkpoint(dict(state), dict(unet.config))
    assert tiny.same({name: state[key] for key, name in part.names.items()}, theirs)


def test_the_text_encoders_compute_what_open_clip_computes(tower, tmp_path):
    ids = torch.tensor([[tiny.VOCABULARY - 2, 5, 17, 3, tiny.VOCABULARY - 1]])
    before_last, projected = tower(ids)
    (tmp_path / "sd2").mkdir()
    base = load(checkpoint("sd2", made("sd2"), tower), tmp_path / "sd2")
    assert base.text_encoder.config.num_hidden_layers == 23
    seen = base.text_encoder(ids)
    torch.testing.assert_close(seen.last_hidden_state, tower.ln_final(before_last))
    torch.testing.assert_close(seen.pooler_output, tower.ln_final(before_last)[:, -1])
    base = load(checkpoint("sdxl", made("sdxl"), tower), tmp_path)
    seen = base.text_encoder_2(ids, output_hidden_states=True)
    torch.testing.assert_close(seen.hidden_states[-2], before_last)
    torch.testing.assert_close(seen.text_embeds, projected)


def test_files_of_23_text_layers_keep_all_of_them(tower, tmp_path):
    """As diffusers' own script writes them, out of folders that have left the last one out."""
    state = checkpoint("sd2", made("sd2"), tower)
    words = "cond_stage_model.model."
    unread = (f"{words}transformer.resblocks.23.", f"{words}text_projection", f"{words}logit_scale")
    rest = {key: value for key, value in state.items() if not key.startswith(unread)}
    assert len(rest) == len(state) - 14
    whole = load(state, tmp_path)
    base = load(rest, tmp_path)
    assert base.text_encoder.config.num_hidden_layers == 23
    assert tiny.same(base.text_encoder.state_dict(), whole.text_encoder.state_dict())


def test_a_published_tower_of_other_depth_is_refused():
    shapes = {key: tuple(value.shape) for key, value in tower_of(1024, 2).items()}
    with pytest.raises(CheckpointError, match="width 1024 has 2 layers, expected 23 or 24"):
        open_clip_part(shapes, "the file", projected=False)


def tower_of(width: int, layers: int) -> dict[str, Tensor]:
    with torch.device("meta"):
        return OpenClipText(width, layers, tiny.VOCABULARY, LENGTH, PROJECTION).state_dict()


def test_projections_and_temperatures_of_sdxl_files(tower, tmp_path):
    """As merges by ComfyUI hold them: a linear layer's matrix, and what CLIP-L has no use for."""
    state = checkpoint("sdxl", made("sdxl"), tower)
    expected = load(state, tmp_path).text_encoder_2
    first, second = "conditioner.embedders.0.", "conditioner.embedders.1.model."
    matrix = state.pop(f"{second}text_projection")
    state[f"{second}text_projection.weight"] = matrix.T.contiguous()
    state[f"{first}logit_scale"] = torch.ones(())
    state[f"{first}text_projection.weight"] = torch.ones(WIDTH, WIDTH)
    state[f"{first}transformer.text_projection.weight"] = torch.ones(WIDTH, WIDTH)
    read = load(state, tmp_path).text_encoder_2
    assert tiny.same(read.state_dict(), expected.state_dict())
    with pytest.raises(CheckpointError, match="are the same: keep one"):
        load({**state, f"{second}text_projection": matrix}, tmp_path)


def test_open_clip_pads_with_token_zero(tower, tmp_path):
    base = load(checkpoint("sdxl", made("sdxl"), tower), tmp_path)
    ends = [t("a", padding="max_length", max_length=6).input_ids[-1] for t in (base.tokenizer, base.tokenizer_2)]  # noqa: E501  # fmt: skip
    assert ends == [tiny.VOCABULARY - 1, 0]


@pytest.mark.parametrize("family", list(FAMILIES))
def test_what_is_missing_or_unknown_is_one_line(family, tower, tmp_path):
    state = checkpoint(family, made(family), tower)
    text = {"sd2": "cond_stage_model.model.", "sdxl": "conditioner.embedders.1.model."}[family]
    cases = [
        ("first_stage_model.", None, r"no VAE \(first_stage_model.*with --vae"),
        (f"{text}token_embedding.weight", None, "missing token_embedding.weight"),
        (f"{text}transformer.resblocks.0.attn.in_proj_bias", None, "missing .*k_proj.bias"),
        (None, f"{text}surplus", "unknown parameter surplus"),
        (None, f"{text}transformer.resblocks.0.attn.surplus.weight", "unknown parameter transf"),
        ("model.diffusion_model.", None, "no UNet with official names"),
    ]
    if family == "sdxl":
        cases.append((text, None, "no second text encoder.*with --text-encoder"))
        cases.append(("conditioner.embedders.0.", None, r"no text encoder \(cond_stage"))
        cases.append(("model.diffusion_model.label_emb.", None, "not of one kind"))
    for gone, new, named in cases:
        rest = {k: v for k, v in state.items() if gone is None or not k.startswith(gone)}
        if new is not None:
            rest[new] = torch.ones(1)
        with pytest.raises(CheckpointError, match=named) as caught:
            load(rest, tmp_path)
        assert "\n" not in str(caught.value)


def test_a_unet_and_text_encoders_that_do_not_belong_together(tower, tmp_path):
    state = checkpoint("sd2", made("sd2", cross_attention_dim=32), tower)
    with pytest.raises(CheckpointError, match="attends to 32 channels, its text encoders give 64"):
        load(state, tmp_path)


def test_a_file_for_inpainting_is_a_base(tower, tmp_path):
    unet = made("sd2", in_channels=9)
    base = load(checkpoint("sd2", unet, tower), tmp_path)
    assert base.inpaints
    assert tiny.same(base.unet.state_dict(), unet.state_dict())


PUBLISHED: dict[str, dict[str, Any]] = {  # the sizes in the authors' folders
    "sd2": {
        "block_out_channels": [320, 640, 1280, 1280],
        "attention_head_dim": [5, 10, 20, 20],
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
    },
    "sdxl": {
        "block_out_channels": [320, 640, 1280],
        "down_block_types": SDXL["down_block_types"],
        "up_block_types": SDXL["up_block_types"],
        "attention_head_dim": [5, 10, 20],
        "transformer_layers_per_block": [1, 2, 10],
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}


@pytest.mark.parametrize(("family", "parameters"), [("sd2", 865_910_724), ("sdxl", 2_567_463_684)])
def test_the_published_sizes_are_read_off_the_published_shapes(family, parameters):
    with torch.device("meta"):
        unet = UNet2DConditionModel(**PUBLISHED[family])
    assert sum(parameter.numel() for parameter in unet.parameters()) == parameters
    shapes = {key: tuple(value.shape) for key, value in official(unet).items()}
    part = unet_part(shapes, "the file", cells=64)
    for name, value in PUBLISHED[family].items():
        assert tuple(np.atleast_1d(part.config[name])) == tuple(np.atleast_1d(value)), name
    assert set(part.names.values()) == set(unet.state_dict())


class Echo(torch.nn.Module):
    """A UNet that has learnt to say one thing."""

    config = {"in_channels": 4, "out_channels": 4, "cross_attention_dim": 8}

    def __init__(self, says) -> None:
        super().__init__()
        self.says, self.weight = says, torch.nn.Parameter(torch.ones(()))

    def forward(self, latents, timestep, encoder_hidden_states):
        return type("Output", (), {"sample": self.says(latents)})


def test_what_a_unet_predicts_shows_at_the_last_step():
    picture = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(9))
    assert find_prediction_type(Echo(lambda z: z - 0.4 * picture)) == "epsilon"
    assert find_prediction_type(Echo(lambda z: 0.07 * z - picture)) == "v_prediction"


def test_sdxl_files_say_that_they_predict_v(tower, tmp_path):
    state = checkpoint("sdxl", made("sdxl"), tower)
    assert load(state, tmp_path).scheduler_config["prediction_type"] == "epsilon"
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    said = load({**state, **marks}, tmp_path).scheduler_config
    assert said["prediction_type"] == "v_prediction"
    assert said["rescale_betas_zero_snr"]


@pytest.mark.parametrize("layout", ["lavallama", "diffusers", "official", "comfyui"])
def test_sdxl_adapters_pass_through_every_layout(layout, tmp_path):
    unet = made("sdxl")
    config = AdapterConfig(phrase_dim=2 * WIDTH, context_dim=2 * WIDTH)
    adapter = GligenAdapter.for_unet(unet, config)
    assert len(adapter.gates) == 2 * 1 + 2 * 2 + 2 + 3 * 2 + 3 * 1  # a gate for each block
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter)
    end = {"comfyui": "gates.safetensors", "official": "gates.bin"}.get(layout, "gates")
    base = unet if layout in ("diffusers", "official") else None
    path = gligen.write_adapter(
        adapter.state_dict(), config, tmp_path / end, layout=layout, base=base
    )
    state, read = gligen.read_adapter(path)
    assert tiny.same(state, adapter.state_dict())
    assert (read.phrase_dim, read.context_dim) == (2 * WIDTH, 2 * WIDTH)
    assert tiny.same(gligen.load_adapter(path, unet).state_dict(), adapter.state_dict())


@pytest.mark.parametrize("layout", ["diffusers", "official"])
def test_an_adapter_is_not_written_into_a_unet_that_inpaints_by_itself(layout, tmp_path):
    unet = made("sd2", in_channels=9)
    adapter = GligenAdapter.for_unet(unet)
    with pytest.raises(CheckpointError, match="write the adapter without the base"):
        gligen.write_adapter(
            adapter.state_dict(), adapter.config, tmp_path / "x.bin", layout=layout, base=unet
        )
    path = gligen.write_adapter(
        adapter.state_dict(), adapter.config, tmp_path / "gates.bin", layout="official"
    )
    assert tiny.same(gligen.load_adapter(path, unet).state_dict(), adapter.state_dict())


def test_a_gated_sdxl_unet_of_diffusers_is_an_adapter(tmp_path):
    """As jiuntian/gligen-xl-1024 is saved: a whole UNet with `attention_type` gated."""
    gated = made("sdxl", attention_type="gated")
    gated.save_pretrained(tmp_path / "unet")
    plain = made("sdxl")
    adapter = gligen.load_adapter(tmp_path, plain)
    names = gated.state_dict().keys() - plain.state_dict().keys()
    wanted = {name: value for name, value in gated.state_dict().items() if name in names}
    assert tiny.same(adapter.state_dict(), wanted)
    assert adapter.config.phrase_dim == 2 * WIDTH
