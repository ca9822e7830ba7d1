import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from gligen.adapter import GligenAdapter
from grounding.errors import CheckpointError
from weights import keymap

GOLDEN = Path(__file__).parents[1] / "golden" / "gligen_keys.json"
SD14 = {
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}


@pytest.fixture(scope="module")
def official() -> dict[str, tuple[int, ...]]:
    keys = json.loads(GOLDEN.read_text(encoding="utf-8"))["text"]
    return {key: tuple(shape) for key, shape in keys.items()}


@pytest.fixture(scope="module")
def ours() -> dict[str, tuple[int, ...]]:
    """The keys of SD 1.4 with a fresh adapter, without a single number in memory."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD14)
        state = {**unet.state_dict(), **GligenAdapter.for_unet(unet).state_dict()}
    return {key: tuple(value.shape) for key, value in state.items()}


def test_adapter_keys_and_shapes_are_the_official_ones(official, ours):
    expected = {k: v for k, v in official.items() if keymap.is_adapter_key(k)}
    mine = {k: v for k, v in ours.items() if keymap.is_adapter_key(k)}
    assert len(expected) == 280
    assert {keymap.official_adapter_key(k): v for k, v in mine.items()} == expected
    assert {keymap.canonical_adapter_key(k): v for k, v in expected.items()} == mine


def test_the_whole_unet_has_the_official_keys_and_shapes(official, ours):
    base = {k: v for k, v in ours.items() if not keymap.is_adapter_key(k)}
    back = {v: k for k, v in keymap.unet_table().items()}
    renamed = {keymap.rename(k, back, "test"): v for k, v in base.items()}
    assert renamed == {k: v for k, v in official.items() if not keymap.is_adapter_key(k)}
    assert all(keymap.is_base_key(key) for key in (*base, *renamed))


def test_the_table_is_one_to_one():
    for attended in [(True, True, True, False), (False, True), (True,), (False, True, True)]:
        for layers in (1, 2, 3):
            layout = keymap.UNetLayout(attended=attended, layers=layers)
            table = keymap.unet_table(layout)
            assert len(set(table.values())) == len(table)


@pytest.mark.parametrize(
    ("down", "up", "layers"),
    [
        (["DownBlock2D", "CrossAttnDownBlock2D"], ["CrossAttnUpBlock2D", "UpBlock2D"], 1),
        (["CrossAttnDownBlock2D"] * 3, ["CrossAttnUpBlock2D"] * 3, 3),
    ],
)
def test_other_topologies_are_covered(down, up, layers):
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(32,) * len(down),
            down_block_types=down,
            up_block_types=up,
            layers_per_block=layers,
            cross_attention_dim=16,
        )
        adapter = GligenAdapter.for_unet(unet)
    layout = keymap.UNetLayout.of(unet.config)
    back = {v: k for k, v in keymap.unet_table(layout).items()}
    renamed = [keymap.rename(key, back, "test") for key in unet.state_dict()]
    assert len(set(renamed)) == len(unet.state_dict())
    for key in adapter.state_dict():
        there = keymap.official_adapter_key(key, layers)
        assert keymap.canonical_adapter_key(there, layers) == key


def test_one_number_of_layers_is_needed():
    config = {
        "down_block_types": ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"],
        "layers_per_block": [2],
    }
    with pytest.raises(CheckpointError, match="layout 'lavallama'"):
        keymap.UNetLayout.of(config)


@pytest.mark.parametrize(
    "key",
    [
        "input_blocks.3.1.transformer_blocks.0.fuser.alpha_attn",
        "input_blocks.1.0.in_layers.0.weight",
        "something.else",
    ],
)
def test_what_is_not_an_official_gate_is_refused(key):
    with pytest.raises(CheckpointError, match=key.split(".")[0]):
        keymap.canonical_adapter_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "mid_block.attentions.0.transformer_blocks.0.fuser.position.weight",
        "down_blocks.0.attentions.2.transformer_blocks.0.fuser.alpha_attn",
        "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight",
    ],
)
def test_what_the_official_layout_cannot_say_is_refused(key):
    with pytest.raises(CheckpointError, match="attentions"):
        keymap.official_adapter_key(key)


def test_rename_ignores_and_refuses():
    table = {"a.b": "x", "a": None}
    assert keymap.rename("a.b.weight", table, "test") == "x.weight"
    assert keymap.rename("a.bc.weight", table, "test") is None
    with pytest.raises(CheckpointError, match="test: unknown parameter ab.weight"):
        keymap.rename("ab.weight", table, "test")


@pytest.mark.parametrize("key", ["conv_in.lora.weight", "input_blocks.13.0.in_layers.0.weight"])
def test_base_keys_are_strict(key):
    assert not keymap.is_base_key(key)
