"""All ten variants of GLIGEN: recognised by their keys, in and out of their layouts."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from gligen.adapter import GligenAdapter
from gligen.config import BOX_MODALITIES, AdapterConfig, MapConfig
from grounding.errors import CheckpointError
from tests.parity.gligen_model import VARIANTS
from tests.weights import tiny
from weights import gligen, keymap

GOLDEN = Path(__file__).parents[1] / "golden" / "gligen_keys.json"
SD14 = {"cross_attention_dim": 768, "attention_head_dim": 8}
PUBLIC = ("text", "text_inpaint", "text_image", "text_image_inpaint")
SMALL_TRUNK = (4, 4, 8, 8)


@pytest.fixture(scope="module")
def official():
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def base():
    return tiny.unet()


def small(variant: str) -> AdapterConfig:
    """The variant's config as narrow as the tiny UNet."""
    config = VARIANTS[variant]
    sizes = None if config.map is None else replace(config.map, dims=SMALL_TRUNK, tokens=4)
    widths = {"context_dim": tiny.WIDTH}
    if config.modality in BOX_MODALITIES:
        widths["phrase_dim"] = tiny.WIDTH
    if config.modality == "text_image":
        widths["image_dim"] = tiny.WIDTH
    return replace(config, map=sizes, **widths)


def made(variant: str, base: torch.nn.Module, dtype: torch.dtype = torch.float32) -> GligenAdapter:
    adapter = GligenAdapter.for_unet(base, small(variant))
    generator = torch.Generator().manual_seed(7)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return adapter.to(dtype)


def own_keys(shapes: dict, layers: int = 2) -> dict[str, tuple[int, ...]]:
    """The adapter's keys of a whole official UNet, by canonical names."""
    first = shapes["input_blocks.0.0.weight"][1] != shapes["out.2.weight"][0]
    return {
        keymap.canonical_adapter_key(key, layers): tuple(shape)
        for key, shape in shapes.items()
        if keymap.is_adapter_key(key) or (first and key.startswith("input_blocks.0.0."))
    }


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_the_keys_and_shapes_are_the_official_ones(official, variant):
    with torch.device("meta"):
        adapter = GligenAdapter.for_unet(UNet2DConditionModel(**SD14), VARIANTS[variant])
    ours = {key: tuple(value.shape) for key, value in adapter.state_dict().items()}
    assert ours == own_keys(official[variant])


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_whole_official_files_are_recognised_by_their_keys(tmp_path, official, variant):
    # One element of every tensor's storage is enough: only names and shapes are looked at.
    state = {key: torch.zeros(()).expand(shape) for key, shape in official[variant].items()}
    config = {
        "model": {"params": {"grounding_tokenizer": {"target": f"x.{variant}_grounding_net"}}}
    }
    torch.save({"model": state, "config_dict": config}, tmp_path / "text-box.bin")
    read, found = gligen.read_adapter(tmp_path / "text-box.bin")
    assert found == VARIANTS[variant]
    assert {key: tuple(value.shape) for key, value in read.items()} == own_keys(official[variant])


@pytest.mark.parametrize("layout", ["lavallama", "official"])
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_every_variant_round_trips_bit_for_bit(tmp_path, base, variant, layout):
    adapter = made(variant, base, torch.float16)
    state, config = adapter.state_dict(), adapter.config
    there = gligen.write_adapter(state, config, tmp_path / "x.bin", layout=layout)
    read, found = gligen.read_adapter(there)
    assert tiny.same(read, state)
    assert found == config


@pytest.mark.parametrize("variant", [*PUBLIC[1:], "canny", "sem"])
def test_a_whole_official_unet_round_trips_and_has_every_official_key(
    tmp_path, base, official, variant
):
    adapter = made(variant, base)
    state, config = adapter.state_dict(), adapter.config
    there = gligen.write_adapter(state, config, tmp_path / "x.bin", layout="official", base=base)
    whole = torch.load(there, weights_only=True)["model"]
    even = {key for key in official[variant] if "skip_connection" in key}
    wanted = official[variant].keys() - (even - whole.keys())  # the tiny levels are equally wide
    assert whole.keys() == wanted
    read, found = gligen.read_adapter(there)
    assert tiny.same(read, state)
    assert found == config


@pytest.mark.parametrize("variant", PUBLIC)
def test_the_public_ones_load_in_diffusers_and_come_back(tmp_path, base, variant):
    adapter = made(variant, base)
    state, config = adapter.state_dict(), adapter.config
    alone = gligen.write_adapter(state, config, tmp_path / "x.safetensors", layout="diffusers")
    assert tiny.same(gligen.read_adapter(alone)[0], state)
    folder = gligen.write_adapter(state, config, tmp_path / "u", layout="diffusers", base=base)
    loaded, info = UNet2DConditionModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    gates = "gated-text-image" if config.modality == "text_image" else "gated"
    assert loaded.config.attention_type == gates
    assert loaded.config.in_channels == (9 if config.inpainting else 4)
    assert tiny.same(loaded.state_dict(), {**base.state_dict(), **state})
    read, found = gligen.read_adapter(folder)
    assert tiny.same(read, state)
    assert found == config


def test_a_file_that_does_not_say_which_map_must_be_told(tmp_path, base):
    adapter = made("depth", base)
    official = {keymap.official_adapter_key(k): v for k, v in adapter.state_dict().items()}
    torch.save({"model": official}, tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match="canny or depth have the same keys") as caught:
        gligen.read_adapter(tmp_path / "x.bin")
    assert "\n" not in str(caught.value)
    read, config = gligen.read_adapter(tmp_path / "x.bin", modality="depth")
    assert config == adapter.config
    assert tiny.same(read, adapter.state_dict())
    with pytest.raises(
        CheckpointError, match="expected an adapter for hed, its keys are for canny"
    ):
        gligen.read_adapter(tmp_path / "x.bin", modality="hed")


@pytest.mark.parametrize(
    ("variant", "layout", "said"),
    [
        ("keypoint", "comfyui", "ComfyUI reads adapters for text boxes; this one is for keypoint"),
        ("text_inpaint", "comfyui", "this one is for inpainting with text"),
        ("sem", "diffusers", "this adapter is for sem: use layout 'official'"),
    ],
)
def test_layouts_that_have_no_place_for_a_variant_say_so(tmp_path, base, variant, layout, said):
    adapter = made(variant, base)
    where = tmp_path / "x.safetensors"
    with pytest.raises(CheckpointError, match=said):
        gligen.write_adapter(adapter.state_dict(), adapter.config, where, layout=layout)
    assert not where.exists()


SPOILT = [
    (
        "text_image",
        "position_net.linears_image.2.bias",
        "missing position_net.linears_image.2.bias",
    ),
    ("keypoint", "position_net.person_embeddings", "missing position_net.person_embeddings"),
    (
        "canny",
        "position_net.convnext_tiny_backbone.stages.2.8.gamma",
        "missing position_net.convnext_tiny_backbone.stages.2.8.gamma",
    ),
    ("canny", "downsample_net.layers.2.bias", "missing downsample_net.layers.2.bias"),
    ("sem", "conv_in.weight", "missing conv_in.bias, conv_in.weight"),
    ("text_inpaint", "conv_in.bias", "missing conv_in.bias"),
]


@pytest.mark.parametrize(("variant", "lost", "said"), SPOILT)
def test_what_is_missing_is_named_in_one_line(tmp_path, base, variant, lost, said):
    state = dict(made(variant, base).state_dict())
    del state[lost]
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=said) as caught:
        gligen.read_adapter(tmp_path / "x.safetensors", modality=VARIANTS[variant].modality)
    assert "\n" not in str(caught.value)


def test_a_whole_stage_or_downsampler_cut_off_is_missed(tmp_path, base):
    whole = made("canny", base).state_dict()
    for part in ("position_net.convnext_tiny_backbone.stages.3.2.", "downsample_net."):
        state = {key: value for key, value in whole.items() if not key.startswith(part)}
        save_file(state, tmp_path / "x.safetensors")
        with pytest.raises(CheckpointError, match=f"missing {part}"):
            gligen.read_adapter(tmp_path / "x.safetensors", modality="canny")


def test_a_wrong_shape_and_a_stray_key_are_named(tmp_path, base):
    state = dict(made("hed", base).state_dict())
    state["position_net.null_feature"] = torch.ones(5)
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"null_feature has shape \(5,\), expected \(8,\)"):
        gligen.read_adapter(tmp_path / "x.safetensors")
    state["position_net.in_conv.surplus"] = torch.ones(1)
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"unknown position_net.in_conv.surplus"):
        gligen.read_adapter(tmp_path / "x.safetensors")


def test_a_trunk_of_other_depths_is_ours_alone(tmp_path, base):
    config = replace(small("hed"), map=replace(MapConfig(), dims=(4, 8), depths=(1, 2), tokens=4,
                                               hidden_channels=0, extra_channels=1))  # fmt: skip
    adapter = GligenAdapter.for_unet(base, config)
    own = gligen.save_pretrained(adapter, tmp_path / "mine")
    assert gligen.read_adapter(own)[1] == config
    assert len(load_file(own / "adapter.safetensors")) == len(adapter.state_dict())
    with pytest.raises(CheckpointError, match="use 'lavallama'"):
        gligen.write_adapter(adapter.state_dict(), config, tmp_path / "x.bin", layout="official")


@pytest.mark.parametrize("variant", ["text_image_inpaint", "normal"])
def test_loaded_adapters_fit_their_unet_strictly(tmp_path, base, variant):
    adapter = made(variant, base)
    own = gligen.save_pretrained(adapter, tmp_path / "mine")
    assert tiny.same(gligen.load_adapter(own, base).state_dict(), adapter.state_dict())
    with pytest.raises(CheckpointError, match="conv_in.bias has shape"):
        gligen.load_adapter(own, UNet2DConditionModel(**{**dict(base.config), "block_out_channels": (64, 32, 32, 32)}))  # noqa: E501  # fmt: skip


def test_reading_warns_about_nothing(tmp_path, base):
    adapter = made("depth", base)
    there = gligen.write_adapter(
        adapter.state_dict(), adapter.config, tmp_path / "x.bin", layout="official"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gligen.read_adapter(there)
