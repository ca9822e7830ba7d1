"""T2I-Adapters in the authors' and in diffusers' names."""

import re

import pytest
import torch
from diffusers import T2IAdapter
from safetensors.torch import save_file
from torch import nn

from grounding.errors import CheckpointError
from weights.t2i_adapter import is_t2i_adapter, load_t2i_adapter, widths_of

KINDS = {
    "sketch": {"in_channels": 1, "adapter_type": "full_adapter", "downscale_factor": 8},
    "depth": {"in_channels": 3, "adapter_type": "full_adapter", "downscale_factor": 8},
    "color": {"in_channels": 3, "adapter_type": "light_adapter", "downscale_factor": 8},
    "sdxl": {"in_channels": 3, "adapter_type": "full_adapter_xl", "downscale_factor": 16},
}


def random_adapter(kind: str) -> T2IAdapter:
    torch.manual_seed(0)
    blocks = 4 if kind == "color" else 2
    channels = [4, 8, 12] if kind == "color" else [4, 8, 12, 12]
    model = T2IAdapter(channels=channels, num_res_blocks=blocks, **KINDS[kind])
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model.eval().requires_grad_(False)


def authors_name(key: str, kind: str) -> str:
    """Of ResnetBlocks in one row; light ones in rows of their own."""
    key = key.removeprefix("adapter.")
    if kind == "color":
        return key.replace(".resnets.", ".body.")
    key = re.sub(r"body\.(\d)\.resnets\.(\d)", lambda m: f"body.{2 * int(m[1]) + int(m[2])}", key)
    return re.sub(r"body\.(\d)\.in_conv", lambda m: f"body.{2 * int(m[1])}.in_conv", key)


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_is_the_same_adapter(kind, tmp_path):
    model = random_adapter(kind)
    state = model.state_dict()
    model.save_pretrained(tmp_path / "folder")
    save_file(state, tmp_path / "alone.safetensors")
    theirs = {authors_name(key, kind): tensor for key, tensor in state.items()}
    assert kind == "color" or "body.2.in_conv.weight" in theirs
    torch.save(theirs, tmp_path / "authors.pth")
    torch.save({"adapter": theirs}, tmp_path / "nested.pth")
    picture = torch.rand(1, KINDS[kind]["in_channels"], 64, 96)
    expected = model(picture)
    for name in ("folder", "alone.safetensors", "authors.pth", "nested.pth"):
        found = load_t2i_adapter(name, tmp_path / name)
        assert widths_of(found) == [4, 8, 12, 12]
        assert found.config["adapter_type"] == KINDS[kind]["adapter_type"]
        assert all(torch.equal(a, b) for a, b in zip(found(picture), expected, strict=True))
    for names in (state, theirs):
        assert is_t2i_adapter({key: tuple(tensor.shape) for key, tensor in names.items()})


def test_what_is_refused_is_named(tmp_path):
    state = random_adapter("depth").state_dict()
    assert not is_t2i_adapter({"control_model.input_hint_block.0.weight": (1,)})
    for bad, said in (
        ({**state, "adapter.conv_in.weight": torch.zeros(4, 5, 3, 3)}, "of a known kind"),
        ({**state, "adapter.x": torch.zeros(1)}, "unknown adapter.x"),
        ({k: t for k, t in state.items() if k != "adapter.conv_in.bias"}, "missing adapter.conv"),
        ({**state, "adapter.body.1.in_conv.weight": torch.zeros(8, 5, 1, 1)}, "has shape"),
    ):
        save_file(bad, tmp_path / "bad.safetensors")
        with pytest.raises(CheckpointError, match=said):
            load_t2i_adapter("bad", tmp_path / "bad.safetensors")
