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
from weights.keymap import OFFICIAL_PREFIXES, SCHEDULE_BUFFERS, name_some
from weights.ldm_unet import unet_part
from weights.ldm_vae import vae_part
from weights.open_clip import open_clip_part
from weights.part import Part, Shapes, numbered, size_of
from weights.tensor_file import TensorFile

__all__ = ["SCHEDULERS", "Checkpoint", "Family", "read_checkpoint"]

Family = Literal["sd1", "sd2", "sdxl"]

SCALING = {"sd1": 0.18215, "sd2": 0.18215, "sdxl": 0.13025}  # scale_factor in the authors' configs
SAMPLE_SIZE = {"sd1": 64, "sd2": 64, "sdxl": 128}  # latent cells of one side
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
    cells = SAMPLE_SIZE[family]
    parts = {
        "unet": unet_part(shapes["unet"], source, cells=cells),
        "vae": vae_part(shapes["vae"], source, scaling=SCALING[family], cells=cells),
    }
    if ("addition_embed_type" in parts["unet"].config) != (family == "sdxl"):
        raise CheckpointError(
            f"{source}: its UNet and its text encoders are not of one kind of Stable Diffusion"
        )
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
