"""Stable Diffusion 1.x in one file (latent-diffusion's names): its parts, names and sizes.

Such a file holds a UNet, a KL autoencoder and CLIP's text model under three prefixes; an official
GLIGEN checkpoint holds the same three as `model`, `autoencoder` and `text_encoder`. The configs
are read off the shapes; what shapes cannot tell (heads, activation, scaling) is Stable Diffusion
1.x's and stands here as constants, so no config is downloaded. CLIP's vocabulary is in neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grounding.errors import CheckpointError
from weights.keymap import (
    OFFICIAL_PREFIXES,
    SCHEDULE_BUFFERS,
    UNetLayout,
    is_adapter_key,
    name_some,
    rename,
    unet_table,
)
from weights.tensor_file import TensorFile

__all__ = ["SD1_SCHEDULER", "Part", "read_parts", "vae_table"]

SD1_HEADS = 8  # latent-diffusion, v1-inference.yaml: num_heads
SD1_SCALING = 0.18215  # latent-diffusion, v1-inference.yaml: scale_factor
SD1_CONTEXT = 768
GROUPS = 32  # GroupNorm(32, ...) everywhere in latent-diffusion
CLIP_HEAD_WIDTH = 64
SD1_SCHEDULER: dict[str, Any] = {
    "_class_name": "PNDMScheduler",
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "clip_sample": False,
}

VAE_PREFIXES = ("first_stage_model.", "autoencoder.")
TEXT_PREFIXES = (
    "cond_stage_model.transformer.text_model.",
    "cond_stage_model.transformer.",
    "text_encoder.transformer.text_model.",
    "text_encoder.transformer.",
)
# Parts of a checkpoint, and buffers, that a base model has no use for.
IGNORED = re.compile(
    r"^(model_ema|ema|opt|scheduler|diffusion)\.|^(first_stage_model|autoencoder)\.(loss|model_ema)\.|"
    r"^(cond_stage_model|text_encoder)\.(logit_scale|text_projection)|"
    r"\.position_ids$|^(cond_stage_model|text_encoder)\.transformer\.text_projection\."
)
OTHER_MODELS = {
    "conditioner.": "Stable Diffusion XL",
    "cond_stage_model.model.": "Stable Diffusion 2.x",
    "text_encoders.": "Stable Diffusion 3",
    "control_model.": "a ControlNet",
    "lora_unet": "a LoRA",
}
VAE_RESNET = {
    "norm1": "norm1",
    "conv1": "conv1",
    "norm2": "norm2",
    "conv2": "conv2",
    "nin_shortcut": "conv_shortcut",
}
VAE_ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One model in a checkpoint.

    Attributes:
        config: Keyword arguments of its diffusers or transformers config.
        names: Key in the file -> key in the model.
    """

    config: dict[str, Any]
    names: dict[str, str]


def read_parts(file: TensorFile) -> dict[str, Part]:
    """Account for every tensor of a single-file Stable Diffusion 1.x or official GLIGEN.

    Returns:
        `unet`, `vae` and `text_encoder`. Gates and position_net are left to `weights.gligen`.

    Raises:
        CheckpointError: Another model, an incomplete one, or unknown parameters.
    """
    source = str(file.path)
    for prefix, model in OTHER_MODELS.items():
        if any(key.startswith(prefix) for key in file.shapes):
            raise CheckpointError(
                f"{source}: {model} in a single file is not supported: expected Stable Diffusion "
                "1.x, or a folder in diffusers' layout"
            )
    unet_prefix = next(
        (p for p in OFFICIAL_PREFIXES if f"{p}input_blocks.0.0.weight" in file.shapes), None
    )
    if unet_prefix is None:
        raise CheckpointError(
            f"{source}: no UNet with official names (input_blocks.*) in it: expected a single-file "
            "Stable Diffusion 1.x, or a folder in diffusers' layout"
        )
    inner = _sort(file, unet_prefix)
    shapes = {part: {k: file.shapes[v] for k, v in keys.items()} for part, keys in inner.items()}
    read = {"unet": _unet, "vae": _vae, "text_encoder": _text}
    return {part: _translate(inner[part], *read[part](shapes[part], source)) for part in read}


def _sort(file: TensorFile, unet_prefix: str) -> dict[str, dict[str, str]]:
    """Say which part every tensor belongs to: part -> key inside the part -> key in the file."""
    source = str(file.path)
    prefixes = {"vae": VAE_PREFIXES, "text_encoder": TEXT_PREFIXES, "unet": (unet_prefix,)}
    inner: dict[str, dict[str, str]] = {part: {} for part in prefixes}
    unknown = []
    for key in file.shapes:
        if IGNORED.search(key) or key in SCHEDULE_BUFFERS:
            continue
        for part, starts in prefixes.items():
            start = next((s for s in starts if key.startswith(s)), None)
            if start is not None:
                inner[part][key[len(start) :]] = key
                break
        else:
            unknown.append(key)
    if unknown:
        raise CheckpointError(f"{source}: unknown parameters {name_some(unknown)}")
    for part, keys in inner.items():
        if not keys:
            raise CheckpointError(
                f"{source}: no {part} in it: expected a full checkpoint (UNet, VAE, text encoder)"
            )
    return inner


def _translate(inner: Mapping[str, str], config: dict, names: Mapping[str, str]) -> Part:
    return Part(config=config, names={inner[key]: name for key, name in names.items()})


Shapes = Mapping[str, tuple[int, ...]]
Reading = tuple[dict[str, Any], dict[str, str]]


def _size(shapes: Shapes, key: str, axis: int, source: str) -> int:
    if key not in shapes or len(shapes[key]) <= axis:
        raise CheckpointError(f"{source}: missing {key}")
    return shapes[key][axis]


def _names(shapes: Shapes, table: Mapping[str, str | None], source: str) -> dict[str, str]:
    renamed = {key: rename(key, table, source) for key in shapes}
    return {key: name for key, name in renamed.items() if name is not None}


def _unet(shapes: Shapes, source: str) -> Reading:
    """Sizes and names of the UNet, gates left out."""
    shapes = {key: shape for key, shape in shapes.items() if not is_adapter_key(key)}
    channels = _size(shapes, "input_blocks.0.0.weight", 1, source)
    latent = _size(shapes, "out.2.weight", 0, source)
    if channels != latent:
        raise CheckpointError(
            f"{source}: its UNet takes {channels} channels, expected {latent}: a checkpoint for "
            "inpainting or editing is not supported as a base"
        )
    downs = sorted(int(key.split(".")[1]) for key in shapes if key.endswith(".0.op.weight"))
    step = downs[0] if downs else 3
    levels, layers = len(downs) + 1, step - 1
    first = [1 + level * step for level in range(levels)]
    widths = [_size(shapes, f"input_blocks.{i}.0.out_layers.3.weight", 0, source) for i in first]
    attended = tuple(f"input_blocks.{i}.1.norm.weight" in shapes for i in first)
    context = {shapes[key][1] for key in shapes if key.endswith(".attn2.to_k.weight")}
    if len(context) != 1:
        raise CheckpointError(f"{source}: its UNet has no cross-attention of one width")
    layout = UNetLayout(attended=attended, layers=layers)
    config = {
        "in_channels": channels,
        "out_channels": latent,
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": [f"{'CrossAttn' if a else ''}DownBlock2D" for a in attended],
        "up_block_types": [f"{'CrossAttn' if a else ''}UpBlock2D" for a in reversed(attended)],
        "cross_attention_dim": context.pop(),
        "attention_head_dim": SD1_HEADS,  # diffusers' misnomer: the number of heads
        "norm_num_groups": GROUPS,
        "sample_size": 64,
    }
    return config, _names(shapes, dict(unet_table(layout)), source)


def vae_table(levels: int, layers: int) -> dict[str, str | None]:
    """List the modules of latent-diffusion's autoencoder -> those of diffusers' AutoencoderKL.

    Args:
        levels: Resolutions.
        layers: Residual layers in a level of the encoder; the decoder has one more.
    """
    table: dict[str, str | None] = {
        "quant_conv": "quant_conv",
        "post_quant_conv": "post_quant_conv",
    }

    def insert(here: str, there: str, names: Mapping[str, str]) -> None:
        table.update({f"{here}.{a}": f"{there}.{b}" for a, b in names.items()})

    for side in ("encoder", "decoder"):
        table[f"{side}.conv_in"] = f"{side}.conv_in"
        table[f"{side}.norm_out"] = f"{side}.conv_norm_out"
        table[f"{side}.conv_out"] = f"{side}.conv_out"
        middle = f"{side}.mid_block"
        insert(f"{side}.mid.block_1", f"{middle}.resnets.0", VAE_RESNET)
        insert(f"{side}.mid.attn_1", f"{middle}.attentions.0", VAE_ATTENTION)
        insert(f"{side}.mid.block_2", f"{middle}.resnets.1", VAE_RESNET)
    for level in range(levels):
        down, here = f"encoder.down_blocks.{level}", f"encoder.down.{level}"
        for place in range(layers):
            insert(f"{here}.block.{place}", f"{down}.resnets.{place}", VAE_RESNET)
        table[f"{here}.downsample.conv"] = f"{down}.downsamplers.0.conv"
        # latent-diffusion counts the decoder's levels from the largest picture, diffusers from the
        # smallest.
        up, here = f"decoder.up_blocks.{levels - 1 - level}", f"decoder.up.{level}"
        for place in range(layers + 1):
            insert(f"{here}.block.{place}", f"{up}.resnets.{place}", VAE_RESNET)
        table[f"{here}.upsample.conv"] = f"{up}.upsamplers.0.conv"
    return table


def _vae(shapes: Shapes, source: str) -> Reading:
    levels = len({key.split(".")[2] for key in shapes if key.startswith("encoder.down.")})
    layers = len({key.split(".")[4] for key in shapes if key.startswith("encoder.down.0.block.")})
    widths = [
        _size(shapes, f"encoder.down.{level}.block.0.conv1.weight", 0, source)
        for level in range(levels)
    ]
    config = {
        "in_channels": _size(shapes, "encoder.conv_in.weight", 1, source),
        "out_channels": _size(shapes, "decoder.conv_out.weight", 0, source),
        "latent_channels": _size(shapes, "post_quant_conv.weight", 0, source),
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": layers,
        "norm_num_groups": GROUPS,
        "scaling_factor": SD1_SCALING,
        "sample_size": 512,
    }
    return config, _names(shapes, vae_table(levels, layers), source)


def _text(shapes: Shapes, source: str) -> Reading:
    words = "embeddings.token_embedding.weight"
    vocabulary, width = _size(shapes, words, 0, source), _size(shapes, words, 1, source)
    layers = {key.split(".")[2] for key in shapes if key.startswith("encoder.layers.")}
    config = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _size(shapes, "encoder.layers.0.mlp.fc1.weight", 0, source),
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, width // CLIP_HEAD_WIDTH),
        "max_position_embeddings": _size(shapes, "embeddings.position_embedding.weight", 0, source),
        "hidden_act": "quick_gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }
    return config, {key: key for key in shapes}
