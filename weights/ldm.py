"""Stable Diffusion in one file (latent-diffusion's names): its parts, names and sizes.

Such a file holds a UNet, a KL autoencoder and one or two text encoders under prefixes; an official
GLIGEN checkpoint holds UNet, autoencoder and text encoder as `model`, `autoencoder` and
`text_encoder`. The configs are read off the shapes; what shapes cannot tell (activation, scaling,
schedule) is the family's and stands here as constants, so no config is downloaded. The vocabulary
is in none of them. The family shows in the text encoders:

| family   | text encoders                                                                       |
|----------|-------------------------------------------------------------------------------------|
| SD 1.x   | `cond_stage_model.transformer.*`: CLIP-L of transformers                            |
| SD 2.x   | `cond_stage_model.model.*`: OpenCLIP-H                                              |
| SDXL     | `conditioner.embedders.0.transformer.*`: CLIP-L; `conditioner.embedders.1.model.*`: OpenCLIP-bigG |
"""  # noqa: E501

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

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
from weights.open_clip import open_clip_part
from weights.part import Part, Shapes, numbered, size_of
from weights.tensor_file import TensorFile

__all__ = ["SCHEDULERS", "Checkpoint", "Family", "read_checkpoint", "vae_table"]

Family = Literal["sd1", "sd2", "sdxl"]

SD1_HEADS = 8  # latent-diffusion, v1-inference.yaml: num_heads
HEAD_CHANNELS = 64  # Stable Diffusion 2.x and XL: num_head_channels
TIME_CHANNELS = 256  # SDXL: channels of each number that the UNet is told of the picture
SCALING = {"sd1": 0.18215, "sd2": 0.18215, "sdxl": 0.13025}  # scale_factor in the authors' configs
SAMPLE_SIZE = {"sd1": 64, "sd2": 64, "sdxl": 128}  # latent cells of one side
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
SCHEDULERS: dict[Family, dict[str, Any]] = {  # the classes that the published folders name
    "sd1": SD1_SCHEDULER,
    "sd2": {**SD1_SCHEDULER, "_class_name": "DDIMScheduler"},
    "sdxl": {
        **SD1_SCHEDULER,
        "_class_name": "EulerDiscreteScheduler",
        "timestep_spacing": "leading",
    },
}
# Keys, without content, by which SDXL files say that they predict v, down to no signal at all.
PREDICTS_V, ZERO_SNR = "v_pred", "ztsnr"

VAE_PREFIXES = ("first_stage_model.", "autoencoder.")
CLIP_PREFIXES = (
    "cond_stage_model.transformer.text_model.",
    "cond_stage_model.transformer.",
    "text_encoder.transformer.text_model.",
    "text_encoder.transformer.",
    "conditioner.embedders.0.transformer.text_model.",
    "conditioner.embedders.0.transformer.",
)
SD2_TEXT, SDXL_TEXT = "cond_stage_model.model.", "conditioner.embedders.1.model."
# Parts of a checkpoint, and buffers, that a base model has no use for.
IGNORED = re.compile(
    r"^(model_ema|ema|opt|scheduler|diffusion|embedding_manager)\.|"
    r"^(first_stage_model|autoencoder)\.(loss|model_ema)\.|"
    r"^(cond_stage_model|text_encoder)\.(logit_scale|text_projection)|"
    r"\.position_ids$|\.transformer\.text_projection\.|"
    rf"^(denoiser\.sigmas|{PREDICTS_V}|{ZERO_SNR})$"
)
OTHER_MODELS = {
    "conditioner.embedders.0.model.": "the refiner of Stable Diffusion XL",
    "text_encoders.": "Stable Diffusion 3",
    "control_model.": "a ControlNet",
    "lora_unet": "a LoRA",
}
PART_NAMES = {
    "vae": "VAE (first_stage_model.*)",
    "text_encoder": "text encoder (cond_stage_model.* or conditioner.*)",
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
class Checkpoint:
    """What a single file holds.

    Attributes:
        family: Whose model it is.
        parts: `unet`, `vae`, `text_encoder` and, of SDXL, `text_encoder_2`. Gates and position_net
            are left to `weights.gligen`.
        scheduler: Config of a scheduler; of SD 2.x without its prediction type, which no key tells.
    """

    family: Family
    parts: dict[str, Part]
    scheduler: dict[str, Any]


def read_checkpoint(file: TensorFile) -> Checkpoint:
    """Account for every tensor of a single-file Stable Diffusion or official GLIGEN.

    Raises:
        CheckpointError: Another model, an incomplete one, or unknown parameters.
    """
    source = str(file.path)
    for prefix, model in OTHER_MODELS.items():
        if any(key.startswith(prefix) for key in file.shapes):
            raise CheckpointError(
                f"{source}: {model} in a single file is not supported: expected Stable Diffusion "
                "1.x, 2.x or XL, or a folder in diffusers' layout"
            )
    unet_prefix = next(
        (p for p in OFFICIAL_PREFIXES if f"{p}input_blocks.0.0.weight" in file.shapes), None
    )
    if unet_prefix is None:
        raise CheckpointError(
            f"{source}: no UNet with official names (input_blocks.*) in it: expected a single-file "
            "Stable Diffusion, or a folder in diffusers' layout"
        )
    family = _family(file)
    prefixes = {"vae": VAE_PREFIXES, "text_encoder": CLIP_PREFIXES, "unet": (unet_prefix,)}
    if family == "sd2":
        prefixes["text_encoder"] = (SD2_TEXT,)
    elif family == "sdxl":
        prefixes["text_encoder_2"] = (SDXL_TEXT,)
    inner = _sort(file, prefixes)
    shapes = {part: {k: file.shapes[v] for k, v in keys.items()} for part, keys in inner.items()}
    parts = {
        "unet": _unet(shapes["unet"], source, family),
        "vae": _vae(shapes["vae"], source, family),
    }
    if family == "sd2":
        parts["text_encoder"] = open_clip_part(shapes["text_encoder"], source, projected=False)
    else:
        parts["text_encoder"] = _clip(shapes["text_encoder"], source)
    if family == "sdxl":
        second = shapes["text_encoder_2"]
        parts["text_encoder_2"] = open_clip_part(second, source, projected=True)
    return Checkpoint(
        family=family,
        parts={part: found.keyed(inner[part]) for part, found in parts.items()},
        scheduler=_scheduler(file, family),
    )


def _family(file: TensorFile) -> Family:
    if any(key.startswith("conditioner.") for key in file.shapes):
        return "sdxl"
    return "sd2" if any(key.startswith(SD2_TEXT) for key in file.shapes) else "sd1"


def _scheduler(file: TensorFile, family: Family) -> dict[str, Any]:
    scheduler = dict(SCHEDULERS[family])
    if family == "sd2":
        del scheduler["prediction_type"]
    if PREDICTS_V in file.shapes:
        scheduler["prediction_type"] = "v_prediction"
    if ZERO_SNR in file.shapes:
        scheduler["rescale_betas_zero_snr"] = True
    return scheduler


def _sort(file: TensorFile, prefixes: Mapping[str, tuple[str, ...]]) -> dict[str, dict[str, str]]:
    """Say which part every tensor belongs to: part -> key inside the part -> key in the file."""
    source = str(file.path)
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
            name = PART_NAMES.get(part, f"second text encoder ({SDXL_TEXT}*)")
            raise CheckpointError(
                f"{source}: no {name} in it: expected a full checkpoint (UNet, VAE, text "
                "encoders), or a folder in diffusers' layout that has them"
            )
    return inner


def _names(shapes: Shapes, table: Mapping[str, str | None], source: str) -> dict[str, str]:
    renamed = {key: rename(key, table, source) for key in shapes}
    return {key: name for key, name in renamed.items() if name is not None}


def _unet(shapes: Shapes, source: str, family: Family) -> Part:
    """Sizes and names of the UNet, gates left out."""
    gated = any(is_adapter_key(key) for key in shapes)
    shapes = {key: shape for key, shape in shapes.items() if not is_adapter_key(key)}
    channels = size_of(shapes, "input_blocks.0.0.weight", 1, source)
    latent = size_of(shapes, "out.2.weight", 0, source)
    check_channels(channels, latent, gated, source)
    downs = sorted(int(key.split(".")[1]) for key in shapes if key.endswith(".0.op.weight"))
    step = downs[0] if downs else 3
    levels, layers = len(downs) + 1, step - 1
    first = [1 + level * step for level in range(levels)]
    widths = [size_of(shapes, f"input_blocks.{i}.0.out_layers.3.weight", 0, source) for i in first]
    attended = tuple(f"input_blocks.{i}.1.norm.weight" in shapes for i in first)
    context = {shapes[key][1] for key in shapes if key.endswith(".attn2.to_k.weight")}
    if len(context) != 1:
        raise CheckpointError(f"{source}: its UNet has no cross-attention of one width")
    linear = any(k.endswith(".1.proj_in.weight") and len(v) == 2 for k, v in shapes.items())
    depths = [numbered(shapes, f"input_blocks.{i}.1.transformer_blocks.") or 1 for i in first]
    config: dict[str, Any] = {
        "in_channels": channels,
        "out_channels": latent,
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": [f"{'CrossAttn' if a else ''}DownBlock2D" for a in attended],
        "up_block_types": [f"{'CrossAttn' if a else ''}UpBlock2D" for a in reversed(attended)],
        "transformer_layers_per_block": depths if len(set(depths)) > 1 else depths[0],
        "cross_attention_dim": context.pop(),
        # diffusers' misnomer: the number of heads
        "attention_head_dim": [max(1, w // HEAD_CHANNELS) for w in widths] if linear else SD1_HEADS,
        "use_linear_projection": linear,
        "norm_num_groups": GROUPS,
        "sample_size": SAMPLE_SIZE[family],
    }
    if "label_emb.0.0.weight" in shapes:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": TIME_CHANNELS,
            "projection_class_embeddings_input_dim": shapes["label_emb.0.0.weight"][1],
        }
    if ("label_emb.0.0.weight" in shapes) != (family == "sdxl"):
        raise CheckpointError(
            f"{source}: its UNet and its text encoders are not of one kind of Stable Diffusion"
        )
    table = unet_table(UNetLayout(attended=attended, layers=layers))
    return Part(config=config, names=_names(shapes, dict(table), source))


def check_channels(channels: int, latent: int, gated: bool, source: str) -> None:
    """Check that a UNet reads latents, or latents, a mask and a masked picture (inpainting).

    Raises:
        CheckpointError: It reads something else, or was widened by an adapter.
    """
    if channels == latent:
        return
    if gated:
        raise CheckpointError(
            f"{source}: its UNet takes {channels} channels because GLIGEN's gates in it inpaint or "
            "read maps: give it with --adapter, over a base of its own"
        )
    if channels != 2 * latent + 1:
        raise CheckpointError(
            f"{source}: its UNet takes {channels} channels, expected {latent}, or "
            f"{2 * latent + 1} for inpainting: other uses are not supported as a base"
        )


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


def _vae(shapes: Shapes, source: str, family: Family) -> Part:
    levels = numbered(shapes, "encoder.down.")
    layers = numbered(shapes, "encoder.down.0.block.")
    widths = [
        size_of(shapes, f"encoder.down.{level}.block.0.conv1.weight", 0, source)
        for level in range(levels)
    ]
    config = {
        "in_channels": size_of(shapes, "encoder.conv_in.weight", 1, source),
        "out_channels": size_of(shapes, "decoder.conv_out.weight", 0, source),
        "latent_channels": size_of(shapes, "post_quant_conv.weight", 0, source),
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": layers,
        "norm_num_groups": GROUPS,
        "scaling_factor": SCALING[family],
        "sample_size": 8 * SAMPLE_SIZE[family],
    }
    return Part(config=config, names=_names(shapes, vae_table(levels, layers), source))


def _clip(shapes: Shapes, source: str) -> Part:
    words = "embeddings.token_embedding.weight"
    vocabulary, width = size_of(shapes, words, 0, source), size_of(shapes, words, 1, source)
    config = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": size_of(shapes, "encoder.layers.0.mlp.fc1.weight", 0, source),
        "num_hidden_layers": numbered(shapes, "encoder.layers."),
        "num_attention_heads": max(1, width // CLIP_HEAD_WIDTH),
        "max_position_embeddings": size_of(
            shapes, "embeddings.position_embedding.weight", 0, source
        ),
        "hidden_act": "quick_gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }
    return Part(config=config, names={key: key for key in shapes})
