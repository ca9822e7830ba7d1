"""Files of every maker, and against peft's and diffusers' own layers."""

import copy
import json

import peft
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from grounding.errors import CheckpointError
from tests.weights import tiny
from weights.base import BaseModel
from weights.lora import read_lora
from weights.lora_update import Update

RANK = 2
# Layers of a UNet of four levels with two residual layers each, by diffusers' and official names.
LAYERS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "down_blocks.0.resnets.0.conv1": "input_blocks.1.0.in_layers.2",
    "down_blocks.0.attentions.0.proj_in": "input_blocks.1.1.proj_in",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0": (
        "input_blocks.4.1.transformer_blocks.0.attn1.to_out.0"
    ),
    "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj": (
        "middle_block.1.transformer_blocks.0.ff.net.0.proj"
    ),
    "up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_k": (
        "output_blocks.5.1.transformer_blocks.0.attn2.to_k"
    ),
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.1.conv",
    "up_blocks.1.resnets.0.conv_shortcut": "output_blocks.3.0.skip_connection",
}
TEXT_LAYERS = ("encoder.layers.0.self_attn.q_proj", "encoder.layers.1.mlp.fc1")


@pytest.fixture(scope="module")
def base() -> BaseModel:
    torch.manual_seed(0)
    nothing: dict = {"tokenizer": None, "vae": None}
    return BaseModel(
        unet=tiny.unet().requires_grad_(False),
        text_encoder=tiny.text_encoder().requires_grad_(False),
        scheduler_config={},
        source="tiny",
        **nothing,
    )


def text_path(base: BaseModel, name: str) -> str:
    """transformers 4 has one level more."""
    return name if hasattr(base.text_encoder, "encoder") else f"text_model.{name}"


@pytest.fixture(scope="module")
def factors(base) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
    """Part, path -> A, B."""
    generator = torch.Generator().manual_seed(1)
    found = {}
    for part, path in [
        *(("unet", path) for path in LAYERS),
        *(("text_encoder", path) for path in TEXT_LAYERS),
    ]:
        model = getattr(base, part)
        at = path if part == "unet" else text_path(base, path)
        weight = model.get_submodule(at).weight
        down = torch.randn(RANK, *weight.shape[1:], generator=generator)
        up = torch.randn(len(weight), RANK, *[1] * (weight.dim() - 2), generator=generator)
        found[part, path] = down, up
    return found


def flat(name: str) -> str:
    return name.replace(".", "_")


def old_attention(name: str) -> str:
    """As diffusers named it at first: attn1.processor.to_out_lora."""
    head, _, last = name.removesuffix(".0").rpartition(".")
    if not head.endswith(("attn1", "attn2")):
        return f"unet.{name}.lora"
    return f"unet.{head}.processor.{last}_lora"


UNET_SPELLINGS = {
    "kohya": lambda name: f"lora_unet_{flat(name)}.lora_{{}}.weight",
    "kohya, official names": lambda name: f"lora_unet_{flat(LAYERS[name])}.lora_{{}}.weight",
    "LyCORIS": lambda name: f"lycoris_{flat(name)}.lora_{{}}.weight",
    "ComfyUI": lambda name: f"diffusion_model.{LAYERS[name]}.lora_{{}}.weight",
    "diffusers": lambda name: f"unet.{name}.lora.{{}}.weight",
    "diffusers, old": lambda name: f"{old_attention(name)}.{{}}.weight",
    "peft": lambda name: f"base_model.model.{name}.lora_{{}}.weight",
    "peft in diffusers": lambda name: f"unet.{name}.lora_{{}}.weight",
    "peft, named": lambda name: f"unet.{name}.lora_{{}}.default.weight",
}
TEXT_SPELLINGS = {
    "kohya": lambda name: f"lora_te_text_model_{flat(name)}.lora_{{}}.weight",
    "kohya, official names": lambda name: f"lora_te1_text_model_{flat(name)}.lora_{{}}.weight",
    "ComfyUI": lambda name: f"text_encoders.clip_l.transformer.text_model.{name}.lora_{{}}.weight",
    "diffusers": lambda name: f"text_encoder.text_model.{name}.lora_linear_layer.{{}}.weight",
    "diffusers, old": lambda name: (
        f"text_encoder.text_model.{name}".replace("q_proj", "to_q_lora")
        + ("" if "q_proj" in name else ".lora_linear_layer")
        + ".{}.weight"
    ),
    "peft": lambda name: f"base_model.model.text_model.{name}.lora_{{}}.weight",
    "peft in diffusers": lambda name: f"text_encoder.{name}.lora_{{}}.weight",
}


@pytest.mark.parametrize("maker", UNET_SPELLINGS)
def test_every_maker_names_the_same_layers(base, factors, maker, tmp_path):
    sides = ("A", "B") if maker.startswith("peft") else ("down", "up")
    state, expected = {}, {}
    for (part, path), tensors in factors.items():
        spellings = UNET_SPELLINGS if part == "unet" else TEXT_SPELLINGS
        if maker in spellings:
            for side, tensor in zip(sides, tensors, strict=True):
                state[spellings[maker](path).format(side)] = tensor
            at = path if part == "unet" else text_path(base, path)
            expected[part, at] = tensors
    save_file(state, tmp_path / "lora.safetensors")
    if maker == "peft":
        with pytest.raises(CheckpointError, match=r"expected adapter_config\.json beside"):
            read_lora("x", {"": tmp_path / "lora.safetensors"}, base)
        (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 2}))
    read = read_lora("x", {"": tmp_path / "lora.safetensors"}, base)
    found = {(part, path): one for part, some in read.updates.items() for path, one in some.items()}
    assert found.keys() == expected.keys()
    for key, update in found.items():
        assert torch.equal(update.tensors["down"], expected[key][0])
        assert torch.equal(update.tensors["up"], expected[key][1])
        assert update.scale == 1.0


def merged(model: nn.Module, updates: dict[str, Update]) -> nn.Module:
    model = copy.deepcopy(model)
    with torch.no_grad():
        for path, update in updates.items():
            layer = model.get_submodule(path)
            assert isinstance(layer.weight, Tensor)
            change = update.weight(layer.weight)
            assert change is not None
            layer.weight += change
    return model


def filled(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_" in name or "hada_" in name or "lokr_" in name:
            nn.init.normal_(parameter, std=0.3, generator=generator)
    return model


TARGETS = r"down_blocks\.0\..*(to_k|to_q|proj_in|conv1)"
CONFIGS = {
    "lora": peft.LoraConfig(
        r=2,
        lora_alpha=6,
        target_modules=TARGETS,
        rank_pattern={"to_k": 4},
        alpha_pattern={"attn2.to_k": 2},
    ),
    "rslora": peft.LoraConfig(r=4, lora_alpha=2, target_modules=TARGETS, use_rslora=True),
    "dora": peft.LoraConfig(r=2, lora_alpha=4, target_modules=TARGETS, use_dora=True),
    "loha": peft.LoHaConfig(r=2, alpha=3, target_modules=TARGETS, use_effective_conv2d=True),
    "lokr": peft.LoKrConfig(
        r=2, alpha=3, target_modules=TARGETS, decompose_both=True, use_effective_conv2d=True
    ),
    "lokr, whole": peft.LoKrConfig(r=64, alpha=32, target_modules=TARGETS),
}


@pytest.mark.parametrize(("kind", "folder"), [*((kind, "") for kind in CONFIGS), ("lora", "unet")])
def test_folders_of_peft(base, kind, folder, tmp_path):
    model = filled(peft.get_peft_model(copy.deepcopy(base.unet), CONFIGS[kind])).eval()
    model.save_pretrained(str(tmp_path / folder))
    file = tmp_path / folder / "adapter_model.safetensors"
    read = read_lora("x", {folder: file}, base)
    ours, theirs = merged(base.unet, read.updates["unet"]), model.merge_and_unload()
    changed = 0
    for name, expected in theirs.named_parameters():
        found = ours.get_parameter(name)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        changed += not torch.equal(found, base.unet.get_parameter(name))
    assert changed == len(read.updates["unet"]) == 12


def test_alphas_in_the_header_of_diffusers(base, tmp_path):
    unet: UNet2DConditionModel = copy.deepcopy(base.unet)
    unet.add_adapter(CONFIGS["lora"])
    filled(unet)
    metadata = unet.peft_config["default"].to_dict()
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=get_peft_model_state_dict(unet),
        unet_lora_adapter_metadata=metadata,
    )
    read = read_lora("x", {"": tmp_path / "pytorch_lora_weights.safetensors"}, base)
    scales = {path: update.scale for path, update in read.updates["unet"].items()}
    by_end = {path.split("transformer_blocks.0.")[-1]: scale for path, scale in scales.items()}
    assert by_end["attn1.to_q"] == 3
    assert by_end["attn1.to_k"] == 1.5
    assert by_end["attn2.to_k"] == 0.5
    torch.manual_seed(0)
    inputs = torch.randn(2, 4, 8, 8), 3, torch.randn(2, 5, tiny.WIDTH)
    with torch.no_grad():
        expected = unet.eval()(*inputs).sample
        found = merged(base.unet, read.updates["unet"]).eval()(*inputs).sample
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_alphas_of_kohya_and_words_of_one_trainer(base, factors, tmp_path):
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj"
    down, up = factors["unet", "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj"]
    state = {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}
    for alpha, scale in ((1.0, 0.5), (0.0, 1.0), (4.0, 2.0)):
        save_file({**state, f"{layer}.alpha": torch.tensor(alpha)}, tmp_path / "a.safetensors")
        read = read_lora("x", {"": tmp_path / "a.safetensors"}, base)
        [update] = read.updates["unet"].values()
        assert update.scale == scale
    words = {
        "bundle_emb.toy.emb_params": torch.ones(2, 4),
        "bundle_emb.v1.5.string_to_param.*": torch.ones(1, 4),
    }
    save_file({**state, **words}, tmp_path / "b.safetensors")
    read = read_lora("x", {"": tmp_path / "b.safetensors"}, base)
    assert {word: list(tensors) for word, tensors in read.words.items()} == {
        "toy": ["emb_params"],
        "v1.5": ["string_to_param.*"],
    }


def pair(layer: str, reads: int = 64, writes: int = 32) -> dict[str, Tensor]:
    return {
        f"{layer}.lora_down.weight": torch.zeros(2, reads),
        f"{layer}.lora_up.weight": torch.zeros(writes, 2),
    }


KEY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
OTHERS = {
    "a LoRA for FLUX": pair("lora_unet_double_blocks_0_img_attn_qkv"),
    "a LoRA for FLUX,": pair("transformer.single_transformer_blocks.3.attn.to_q"),
    "a LoRA for Stable Diffusion 3": pair("lora_unet_joint_blocks_0_context_block_attn_qkv"),
    "a LoRA for Wan": pair("diffusion_model.blocks.0.cross_attn.k_img"),
    "a LoRA for Qwen-Image": pair("transformer_blocks.0.img_mlp.net.2"),
    "a LoRA for Stable Diffusion 1.x": pair(KEY, 768, 320),
    "a LoRA for Stable Diffusion 2.x": pair(KEY, 1024, 320),
    "a LoRA for Stable Diffusion XL": pair(KEY, 2048, 640),
    "is of the kind OFT": {f"{KEY}.oft_blocks": torch.zeros(2, 2, 2)},
    "is of the kind GLoRA": {f"{KEY}.a1.weight": torch.zeros(2, 2)},
    "not a LoRA, but a ControlNet": {"control_model.zero_convs.0.0.weight": torch.zeros(1)},
    "not a LoRA, but an IP-Adapter": {"image_proj.norm.weight": torch.zeros(1)},
    "not a LoRA, but a textual inversion": {"emb_params": torch.zeros(1, 4)},
    "not a LoRA, but a file of another kind": {"x": torch.zeros(1)},
    "does not fit at": {k: v for k, v in pair(KEY).items() if "up" not in k},
    "does not fit at unet.down_blocks.0": pair(KEY, 63),
    "does not fit at lora_unet_nowhere": {**pair(KEY), **pair("lora_unet_nowhere")},
    # twice the same layer
    "does not fit at unet.down_blocks.0.attentions": {
        **pair(KEY),
        **pair("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"),
    },
}


@pytest.mark.parametrize("said", OTHERS)
def test_what_is_refused_is_named(base, said, tmp_path):
    save_file(OTHERS[said], tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError) as refused:
        read_lora("other.safetensors", {"": tmp_path / "other.safetensors"}, base)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_headers_that_are_not_diffusers(base, tmp_path):
    for header in ("[]", "{", json.dumps({"unet": 3})):
        save_file(pair(KEY), tmp_path / "x.safetensors", metadata={"lora_adapter_metadata": header})
        with pytest.raises(CheckpointError, match="not what diffusers writes"):
            read_lora("x", {"": tmp_path / "x.safetensors"}, base)
    assert load_file(tmp_path / "x.safetensors")
