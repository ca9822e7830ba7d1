"""ControlNets in every layout, against diffusers' own converter."""

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors.torch import save_file
from torch import Tensor, nn

from grounding.errors import CheckpointError
from tests.weights import tiny
from weights.controlnet import load_controlnet
from weights.keymap import UNetLayout, unet_table

HINTS = (4, 8, 8)  # channels of the layers that read the map


def sdxl() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 3),
        attention_head_dim=(1, 2),
        cross_attention_dim=48,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=64,
    )


@pytest.fixture(scope="module", params=[tiny.unet, sdxl])
def unet(request) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return request.param().requires_grad_(False)


def random_net(unet: nn.Module, **config) -> ControlNetModel:
    torch.manual_seed(1)
    given = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINTS).config
    model = ControlNetModel.from_config({**given, **config})
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model.requires_grad_(False)


def official(state: dict[str, Tensor], unet: nn.Module) -> dict[str, Tensor]:
    """The authors' names."""
    attended = tuple("CrossAttn" in kind for kind in unet.config["down_block_types"])
    heads = {new: old for old, new in unet_table(UNetLayout(attended=attended)).items()}
    hint = "controlnet_cond_embedding"
    heads |= {f"{hint}.conv_in": "input_hint_block.0", f"{hint}.conv_out": "input_hint_block.10"}
    heads |= {f"{hint}.blocks.{i}": f"input_hint_block.{2 * i + 2}" for i in range(4)}
    heads |= {f"controlnet_down_blocks.{i}": f"zero_convs.{i}.0" for i in range(12)}
    heads["controlnet_mid_block"] = "middle_block_out.0"

    def name(key: str) -> str:
        head = next(h for h in sorted(heads, key=len, reverse=True) if key.startswith(f"{h}."))
        return heads[head] + key.removeprefix(head)

    return {name(key): tensor for key, tensor in state.items()}


def equal(model: nn.Module, state: dict[str, Tensor]) -> bool:
    found = model.state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[k], state[k]) for k in state)


@pytest.mark.parametrize("layout", ["diffusers", "official", "official, alone", "a whole model"])
def test_every_layout_is_the_same_net(unet, layout, tmp_path):
    state = random_net(unet).state_dict()
    theirs = official(state, unet)
    if layout == "diffusers":
        file = tmp_path / "net.safetensors"
        save_file(state, file)
    elif layout == "official, alone":
        file = tmp_path / "net.safetensors"
        save_file(theirs, file)
    else:
        file = tmp_path / "net.pth"
        whole = {f"control_model.{key}": tensor for key, tensor in theirs.items()}
        if layout == "a whole model":
            whole |= {"model.diffusion_model.out.0.weight": torch.zeros(1), "betas": torch.ones(2)}
        torch.save({"state_dict": whole} if layout == "official" else whole, file)
    model = load_controlnet("net", file, unet)
    assert equal(model, state)
    assert tuple(model.config["conditioning_embedding_out_channels"]) == HINTS
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_diffusers_converter_agrees(tmp_path):
    """It knows SD 1.x; its names of the hint's layers are for the usual four levels."""
    unet = tiny.unet()
    theirs = official(random_net(unet).state_dict(), unet)
    save_file(theirs, tmp_path / "net.safetensors")
    ours = load_controlnet("net", tmp_path / "net.safetensors", unet).state_dict()
    converted = convert_controlnet_checkpoint(dict(theirs), unet.config)
    known = {key: tensor for key, tensor in converted.items() if "cond_embedding" not in key}
    assert len(known) > len(ours) - 20
    assert all(torch.equal(ours[key], tensor) for key, tensor in known.items())


@pytest.mark.parametrize(
    "config",
    [
        {"transformer_layers_per_block": (1, 1)},
        {
            "down_block_types": ("DownBlock2D", "DownBlock2D"),
            "mid_block_type": "UNetMidBlock2D",
        },
        {"conditioning_channels": 1, "conditioning_embedding_out_channels": (2, 4, 6, 8)},
    ],
)
def test_smaller_copies_show_in_their_names(config, tmp_path):
    unet = sdxl()
    state = random_net(unet, **config).state_dict()
    save_file(state, tmp_path / "small.safetensors")
    assert equal(load_controlnet("small", tmp_path / "small.safetensors", unet), state)


def test_a_control_lora_stands_upon_the_matrices_of_its_unet(unet, tmp_path):
    expected = random_net(unet).state_dict()
    base, state = unet.state_dict(), {}
    for key, tensor in expected.items():
        if tensor.dim() > 1 and key in base:
            up = torch.randn(tensor.shape[0], 2)
            down = torch.randn(2, *tensor.shape[1:])
            layer = key.removesuffix(".weight")
            state[f"{layer}.up"], state[f"{layer}.down"] = up, down
            expected[key] = base[key] + (up @ down.flatten(1)).reshape(tensor.shape)
        elif key.startswith("down_blocks.1.resnets"):  # left out: the UNet's own
            expected[key] = base[key]
        else:
            state[key] = tensor
    file = {**official(state, unet), "lora_controlnet": torch.empty(0)}
    save_file(file, tmp_path / "lora.safetensors")
    before = {key: tensor.clone() for key, tensor in base.items()}
    model = load_controlnet("lora", tmp_path / "lora.safetensors", unet)
    found = model.state_dict()
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor)
    assert equal(unet, before)
    odd = next(key for key in file if key.endswith(".up"))
    for bad in (
        {key: tensor for key, tensor in file.items() if key != odd.replace(".up", ".down")},
        {**file, odd: torch.zeros(3, 2)},
    ):
        save_file(bad, tmp_path / "lora.safetensors")
        with pytest.raises(CheckpointError, match=r"has no \.down|does not fit at|unknown"):
            load_controlnet("lora", tmp_path / "lora.safetensors", unet)


def test_what_is_refused_is_named(tmp_path):
    unet = tiny.unet()
    state = random_net(unet).state_dict()
    texts = {k: t for k, t in state.items() if "attn2.to_k" in k or "attn2.to_v" in k}
    wide = {k: torch.zeros(len(t), 2048) for k, t in texts.items()}
    other = {k: torch.zeros(len(t), 63) for k, t in texts.items()}
    for bad, said in (
        ({**state, **wide}, "is for Stable Diffusion XL, and the model is"),
        ({**state, **other}, "a UNet of another cross_attention_dim"),
        ({**state, "x": torch.zeros(1)}, "unknown x"),
        ({k: t for k, t in state.items() if "conv_out" not in k}, "missing controlnet_cond"),
        ({**state, "task_embedding": torch.zeros(1)}, "union"),
        ({**official(state, unet), "x.weight": torch.zeros(1)}, "unknown parameter x.weight"),
        ({"lora_unet_mid_block_x.lora_up.weight": torch.zeros(1)}, "not a ControlNet, but a LoRA"),
        ({"x": torch.zeros(1)}, "is not a ControlNet, but a file of another kind: expected input"),
        (
            {"controlnet_blocks.0.weight": torch.ones(1), "single_blocks.0.x": torch.ones(1)},
            "is a ControlNet for FLUX: expected",
        ),
    ):
        save_file(bad, tmp_path / "bad.safetensors")
        with pytest.raises(CheckpointError, match=said) as refused:
            load_controlnet("bad", tmp_path / "bad.safetensors", unet)
        assert "\n" not in str(refused.value)
