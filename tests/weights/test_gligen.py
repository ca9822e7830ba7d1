import hashlib
import json
import warnings

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from gligen.adapter import AdapterConfig, GligenAdapter
from grounding.errors import CheckpointError, OutputError
from tests.weights import tiny
from weights import gligen, keymap
from weights.own_folder import state_digest

LAYOUTS = {
    "lavallama": "own",
    "official": "official.bin",
    "comfyui": "comfyui.safetensors",
    "diffusers": "diffusers.safetensors",
}
GATE = "mid_block.attentions.0.transformer_blocks.0.fuser"


@pytest.fixture(scope="module")
def base():
    return tiny.unet()


@pytest.fixture(scope="module")
def adapter(base):
    return tiny.adapter(base)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_layout_round_trips_bit_for_bit(tmp_path, base, layout, dtype):
    made = tiny.adapter(base, dtype)
    state = made.state_dict()
    where = gligen.write_adapter(state, made.config, tmp_path / LAYOUTS[layout], layout=layout)
    read, config = gligen.read_adapter(where)
    assert tiny.same(read, state)
    assert config == made.config


@pytest.mark.parametrize(("layout", "name"), [("official", "whole.bin"), ("diffusers", "unet")])
def test_a_whole_unet_round_trips_bit_for_bit(tmp_path, base, adapter, layout, name):
    state = adapter.state_dict()
    where = gligen.write_adapter(state, adapter.config, tmp_path / name, layout=layout, base=base)
    assert tiny.same(gligen.read_adapter(where)[0], state)


def test_the_official_file_is_the_one_diffusers_can_convert(tmp_path, base, adapter):
    where = gligen.write_adapter(
        adapter.state_dict(), adapter.config, tmp_path / "x.bin", layout="official", base=base
    )
    model = torch.load(where, weights_only=True)["model"]
    assert len(model) == len(base.state_dict()) + 280
    ldm = {f"model.diffusion_model.{key}": value for key, value in model.items()}
    converted = convert_ldm_unet_checkpoint(ldm, dict(base.config))
    plain = {k: v for k, v in converted.items() if not keymap.is_adapter_key(k)}
    assert tiny.same(plain, base.state_dict())
    gates = {k: v for k, v in converted.items() if ".fuser." in k}
    assert tiny.same(gates, {k: v for k, v in adapter.state_dict().items() if ".fuser." in k})


def test_the_diffusers_folder_loads_in_diffusers(tmp_path, base, adapter):
    where = gligen.write_adapter(
        adapter.state_dict(), adapter.config, tmp_path / "unet", layout="diffusers", base=base
    )
    loaded, info = UNet2DConditionModel.from_pretrained(where, output_loading_info=True)
    assert not any(info.values())
    assert loaded.config.attention_type == "gated"
    assert tiny.same(loaded.state_dict(), {**base.state_dict(), **adapter.state_dict()})


def test_the_comfyui_file_has_the_280_official_names(tmp_path, adapter):
    where = gligen.write_adapter(
        adapter.state_dict(), adapter.config, tmp_path / "x.safetensors", layout="comfyui"
    )
    keys = load_file(where)
    assert len(keys) == 280
    assert "input_blocks.1.1.transformer_blocks.0.fuser.alpha_attn" in keys


@pytest.mark.parametrize("prefix", ["model.", "model.diffusion_model.", "diffusion_model.", ""])
def test_prefixes_before_official_names_are_known(tmp_path, adapter, prefix):
    official = {prefix + keymap.official_adapter_key(k): v for k, v in adapter.state_dict().items()}
    save_file(official, tmp_path / "x.safetensors")
    read, _ = gligen.read_adapter(tmp_path / "x.safetensors")
    assert tiny.same(read, adapter.state_dict())


def test_a_full_official_checkpoint_gives_its_adapter(tmp_path, base, adapter):
    model = tiny.official_unet(base)
    model |= {keymap.official_adapter_key(k): v for k, v in adapter.state_dict().items()}
    whole = {
        "model": model,
        "autoencoder": tiny.official_vae(tiny.vae()),
        "text_encoder": tiny.official_text(tiny.text_encoder()),
        "diffusion": {"betas": torch.ones(3), "alphas_cumprod": torch.ones(3)},
        "config_dict": vars(OmegaConf.create({"model": {"target": "x"}})),
        "opt": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 5e-5}]},
        "scheduler": {"last_epoch": 3},
        "iters": 3,
        "ema": model,
    }
    torch.save(whole, tmp_path / "diffusion_pytorch_model.bin")
    read, config = gligen.read_adapter(tmp_path)
    assert tiny.same(read, adapter.state_dict())
    assert config == adapter.config


def test_pretrained_adapters_come_back(tmp_path, base, adapter):
    gligen.save_pretrained(adapter, tmp_path / "mine")
    loaded = gligen.load_adapter(tmp_path / "mine", base)
    assert isinstance(loaded, GligenAdapter)
    assert tiny.same(loaded.state_dict(), adapter.state_dict())
    document = json.loads((tmp_path / "mine" / "config.json").read_text())
    assert document["sha256"] == state_digest(adapter.state_dict())
    assert document["config"]["max_boxes"] == 30
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == [
        "adapter.safetensors",
        "config.json",
    ]


def test_half_precision_adapters_take_the_type_of_their_unet(tmp_path, base):
    made = tiny.adapter(base, torch.float16)
    gligen.save_pretrained(made, tmp_path / "mine")
    loaded = gligen.load_adapter(tmp_path / "mine", base)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    kept = gligen.load_adapter(tmp_path / "mine", base, dtype=torch.float16)
    assert tiny.same(kept.state_dict(), made.state_dict())


@pytest.mark.parametrize("extension", [{"position_features": True}, {"field_dim": 12}])
def test_position_features_and_box_field_are_ours_alone(tmp_path, base, extension):
    config = AdapterConfig(phrase_dim=8, context_dim=16, hidden_dim=24, **extension)
    made = GligenAdapter.for_unet(base, config)
    gligen.save_pretrained(made, tmp_path / "mine")
    read, again = gligen.read_adapter(tmp_path / "mine")
    assert again == config
    assert tiny.same(read, made.state_dict())
    for layout in ("official", "comfyui", "diffusers"):
        with pytest.raises(CheckpointError, match="position features"):
            gligen.write_adapter(made.state_dict(), config, tmp_path / "no.bin", layout=layout)


def test_the_digest_sees_names_types_shapes_and_bits():
    one = {"a": torch.zeros(2), "b": torch.ones(1)}
    same = dict(reversed(one.items()))
    others = [
        {"a": torch.zeros(2), "c": torch.ones(1)},
        {"a": torch.zeros(2).half(), "b": torch.ones(1)},
        {"a": torch.zeros(2, 1), "b": torch.ones(1)},
        {"a": -torch.zeros(2), "b": torch.ones(1)},
    ]
    digests = {state_digest(state) for state in (one, same, *others)}
    assert len(digests) == 1 + len(others)
    assert len(state_digest({})) == len(hashlib.sha256().hexdigest())


def break_missing(state):
    del state[f"{GATE}.norm2.bias"]


def break_missing_gate(state):
    for key in [key for key in state if key.startswith(GATE)]:
        del state[key]


def break_extra(state):
    state[f"{GATE}.surplus"] = torch.ones(1)


def break_unknown(state):
    state["surplus.weight"] = torch.ones(1)


def break_shape(state):
    state[f"{GATE}.linear.weight"] = torch.ones(3, 3)


def break_rank(state):
    state[f"{GATE}.alpha_attn"] = torch.ones(1)


def break_tokenizer(state):
    state["position_net.linears.2.weight"] = torch.ones(3, 3)


def break_tokenizer_away(state):
    for key in [key for key in state if key.startswith("position_net")]:
        del state[key]


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (break_missing, "missing .*norm2.bias"),
        (break_missing_gate, "no gates in mid_block.attentions.0"),
        (break_extra, "fuser.surplus"),
        (break_unknown, "surplus.weight"),
        (break_shape, r"fuser.linear.weight has shape \(3, 3\), expected \(32, 64\)"),
        (break_rank, "alpha_attn has shape"),
        (break_tokenizer, "position_net.linears.2.weight has shape"),
        (break_tokenizer_away, r"position_net.\* missing"),
    ],
)
@pytest.mark.parametrize("layout", ["comfyui", "official"])
def test_a_wrong_checkpoint_is_one_line(tmp_path, adapter, spoil, named, layout):
    state = dict(adapter.state_dict())
    spoil(state)
    official = {}
    for key, value in state.items():
        head = "middle_block.1" if key.startswith("mid_block") else None
        name = key.replace("mid_block.attentions.0", head) if head else key
        known = keymap.is_adapter_key(key) and not head
        official[keymap.official_adapter_key(name) if known else name] = value
    path = tmp_path / LAYOUTS[layout]
    if layout == "official":
        torch.save({"model": official}, path)
    else:
        save_file(official, path)
    with pytest.raises(CheckpointError, match=named) as caught:
        gligen.read_adapter(path)
    assert "\n" not in str(caught.value)


def test_a_gate_missing_from_a_full_unet_is_named(tmp_path, base, adapter):
    state = {**base.state_dict(), **adapter.state_dict()}
    break_missing_gate(state)
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="no gates in mid_block"):
        gligen.read_adapter(tmp_path / "x.safetensors")


def test_an_incomplete_state_is_not_written(tmp_path, adapter):
    state = dict(adapter.state_dict())
    break_missing(state)
    for layout, name in LAYOUTS.items():
        with pytest.raises(CheckpointError, match="norm2.bias"):
            gligen.write_adapter(state, adapter.config, tmp_path / name, layout=layout)
    assert list(tmp_path.iterdir()) == []


def test_a_plain_base_is_no_adapter(tmp_path, base):
    base.save_pretrained(tmp_path / "unet")
    with pytest.raises(CheckpointError, match="not a GLIGEN adapter"):
        gligen.read_adapter(tmp_path)


def test_an_adapter_for_another_unet_is_refused(tmp_path, adapter):
    gligen.save_pretrained(adapter, tmp_path / "mine")
    other = UNet2DConditionModel(
        block_out_channels=(32, 32),
        down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
        cross_attention_dim=tiny.WIDTH,
    )
    with pytest.raises(CheckpointError, match="unknown down_blocks") as caught:
        gligen.load_adapter(tmp_path / "mine", other)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": "x"}, '"format"'),
        ({"format_version": 99}, "format_version 1, got 99"),
        ({"sha256": "0"}, "sha256"),
        ({"config": {"surprise": 1}}, "expected a config of"),
        ({"config": {"phrase_dim": 5}}, "phrase_dim is 5, the weights have 64"),
        ({"config": None}, "expected a config of"),
    ],
)
def test_our_config_must_fit_our_weights(tmp_path, adapter, change, named):
    where = gligen.save_pretrained(adapter, tmp_path / "mine")
    document = json.loads((where / "config.json").read_text())
    (where / "config.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(CheckpointError, match=named):
        gligen.read_adapter(where)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "{"])
def test_a_damaged_config_is_one_line(tmp_path, adapter, text):
    where = gligen.save_pretrained(adapter, tmp_path / "mine")
    (where / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="config.json") as caught:
        gligen.read_adapter(where)
    assert "\n" not in str(caught.value)


def test_a_truncated_adapter_is_one_line(tmp_path, adapter):
    where = gligen.save_pretrained(adapter, tmp_path / "mine")
    file = where / "adapter.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        gligen.read_adapter(where)


def test_folders_with_no_or_many_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="found no weights"):
        gligen.read_adapter(tmp_path)
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match=r"found a.safetensors, b.safetensors"):
        gligen.read_adapter(tmp_path)


def test_layouts_have_names(tmp_path, adapter):
    with pytest.raises(CheckpointError, match="expected a layout of lavallama, official"):
        gligen.write_adapter(adapter.state_dict(), adapter.config, tmp_path / "x", layout="zip")


def test_a_file_in_the_way_is_an_output_error(tmp_path, adapter):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        gligen.save_pretrained(adapter, tmp_path / "file")


def test_diffusers_widths_are_checked(tmp_path, base):
    made = GligenAdapter.for_unet(base, AdapterConfig(phrase_dim=8, context_dim=tiny.WIDTH))
    with pytest.raises(CheckpointError, match="diffusers' gated UNet has"):
        gligen.write_adapter(
            made.state_dict(), made.config, tmp_path / "unet", layout="diffusers", base=base
        )


def test_reading_warns_about_nothing(tmp_path, adapter):
    where = gligen.write_adapter(
        adapter.state_dict(), adapter.config, tmp_path / "x.bin", layout="official"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gligen.read_adapter(where)
