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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from grounding.errors import CheckpointError
from weights.keymap import OFFICIAL_PREFIXES, name_some
from weights.ldm_unet import unet_part
from weights.ldm_vae import vae_part
from weights.left_out import IGNORED, log_left_out
from weights.open_clip import open_clip_part
from weights.part import Part, Shapes, numbered, size_of
from weights.tensor_file import TensorFile

__all__ = [
    "FAMILY_CELLS",
    "SCALING",
    "SCHEDULERS",
    "Checkpoint",
    "Family",
    "clip_part",
    "read_checkpoint",
]

Family = Literal["sd1", "sd2", "sdxl"]

SCALING = {"sd1": 0.18215, "sd2": 0.18215, "sdxl": 0.13025}  # scale_factor in the authors' configs
FAMILY_CELLS = {"sd1": 64, "sd2": 64, "sdxl": 128}  # latent cells of one side
CLIP_HEAD_WIDTH = 64
OPEN_CLIP_WIDTH = 1024  # of OpenCLIP-H, to which the UNets of 2.x attend
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
SCALE = "scale_factor"  # latent-diffusion, where it measured what latents are multiplied with
# What was trained by other laws of noise than Stable Diffusion's, whose schedulers draw nothing by
# them: keys -> whose they are.
EDM = {
    "edm_vpred.sigma_max": "CosXL's",
    "edm_vpred.sigma_min": "CosXL's",
    "edm_mean": "Playground v2.5's",
    "edm_std": "Playground v2.5's",
}

VAE_PREFIXES = ("first_stage_model.", "autoencoder.", "vae.")
CLIP_PREFIXES = tuple(
    f"{stem}{inner}"
    for stem in (
        "cond_stage_model.",
        "cond_stage_model.model.",  # of merges with tools for 2.x
        "text_encoder.",
        "conditioner.embedders.0.",
    )
    for inner in ("transformer.text_model.", "transformer.")
)
SD2_TEXT, SDXL_TEXT = "cond_stage_model.model.", "conditioner.embedders.1.model."
FIRST = "input_blocks.0.0.weight"  # of every official UNet
OTHER_MODELS = {
    "conditioner.embedders.0.model.": "the refiner of Stable Diffusion XL",
    "text_encoders.": "Stable Diffusion 3",
    "control_model.": "a ControlNet",
    "lora_unet": "a LoRA",
}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a single file holds.

    Attributes:
        family: Whose model it is.
        parts: `unet` and, as far as the file has them, `vae`, `text_encoder` and, of SDXL,
            `text_encoder_2`. Gates and position_net are left to `weights.gligen`.
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
    keys, unet_prefix = _names(file)
    for key, whose in EDM.items():
        if key in keys:
            raise CheckpointError(
                f"{source}: {key} says that it learnt {whose} noise (EDM, arXiv 2206.00364), by "
                "which no scheduler here draws: take a model of Stable Diffusion's noise, such as "
                "sdxl"
            )
    shapes = {key: file.shapes[stored] for key, stored in keys.items()}
    family = _family(shapes, unet_prefix)
    prefixes = {"vae": VAE_PREFIXES, "text_encoder": CLIP_PREFIXES, "unet": (unet_prefix,)}
    if family == "sd2":
        prefixes["text_encoder"] = (SD2_TEXT,)
    elif family == "sdxl":
        prefixes["text_encoder_2"] = (SDXL_TEXT,)
    inner = _sort(shapes, prefixes, source)
    within = {part: {k: shapes[v] for k, v in named.items()} for part, named in inner.items()}
    scaling = float(file[keys[SCALE]]) if SCALE in keys else SCALING[family]
    parts = _parts(within, family, scaling, source)
    log_left_out(source, keys)
    return Checkpoint(
        family=family,
        parts={
            part: found.keyed({name: keys[key] for name, key in inner[part].items()})
            for part, found in parts.items()
        },
        scheduler=_scheduler(keys, family),
    )


def _parts(
    within: Mapping[str, Shapes], family: Family, scaling: float, source: str
) -> dict[str, Part]:
    """Account for the tensors of each part that there is."""
    cells = FAMILY_CELLS[family]
    parts = {"unet": unet_part(within["unet"], source, cells=cells)}
    if ("addition_embed_type" in parts["unet"].config) != (family == "sdxl"):
        raise CheckpointError(
            f"{source}: its UNet and its text encoders are not of one kind of Stable Diffusion"
        )
    if vae := within["vae"]:
        parts["vae"] = vae_part(vae, source, scaling=scaling, cells=cells)
    if words := within["text_encoder"]:
        parts["text_encoder"] = (
            open_clip_part(words, source, projected=False)
            if family == "sd2"
            else clip_part(words, source)
        )
    if second := within.get("text_encoder_2"):
        parts["text_encoder_2"] = open_clip_part(second, source, projected=True)
    return parts


def _names(file: TensorFile) -> tuple[dict[str, str], str]:
    """Names without what a file puts before all of them -> names in the file; the UNet's prefix."""
    heads = [
        key.removesuffix(FIRST)
        for key in file.shapes
        if key.endswith(FIRST) and not IGNORED.search(key)
    ]
    found = (
        (head.removesuffix(prefix), prefix)
        for prefix in OFFICIAL_PREFIXES
        for head in heads
        if head.endswith(prefix)
    )
    outer, unet_prefix = next(found, (None, ""))
    if outer is None:
        raise CheckpointError(
            f"{file.path}: no UNet with official names (input_blocks.*) in it: expected a "
            "single-file Stable Diffusion, or a folder in diffusers' layout"
        )
    names = {key.removeprefix(outer): key for key in file.shapes}
    if len(names) < len(file.shapes):
        lost = file.shapes.keys() - names.values()
        raise CheckpointError(f"{file.path}: {name_some(lost)} with and without {outer}: keep one")
    return names, unet_prefix


def _family(shapes: Shapes, unet_prefix: str) -> Family:
    if any(key.startswith("conditioner.") for key in shapes):
        return "sdxl"
    if any(key.startswith(CLIP_PREFIXES) for key in shapes if ".resblocks." not in key):
        return "sd1"
    if any(key.startswith(SD2_TEXT) for key in shapes):
        return "sd2"
    return "sdxl" if f"{unet_prefix}label_emb.0.0.weight" in shapes else _by_context(shapes)


def _by_context(shapes: Shapes) -> Family:
    """Tell 1.x and 2.x apart, where no text encoder does, by what the UNet attends to."""
    widths = {shape[1] for key, shape in shapes.items() if key.endswith(".attn2.to_k.weight")}
    return "sd2" if OPEN_CLIP_WIDTH in widths else "sd1"


def _scheduler(keys: Iterable[str], family: Family) -> dict[str, Any]:
    scheduler = dict(SCHEDULERS[family])
    if family == "sd2":
        del scheduler["prediction_type"]
    if PREDICTS_V in keys:
        scheduler["prediction_type"] = "v_prediction"
    if ZERO_SNR in keys:
        scheduler["rescale_betas_zero_snr"] = True
    return scheduler


def _sort(
    keys: Iterable[str], prefixes: Mapping[str, tuple[str, ...]], source: str
) -> dict[str, dict[str, str]]:
    """Say which part every parameter belongs to: part -> name inside the part -> name."""
    inner: dict[str, dict[str, str]] = {part: {} for part in prefixes}
    unknown = []
    for key in keys:
        if IGNORED.search(key) or key in (PREDICTS_V, ZERO_SNR, SCALE):
            continue
        for part, starts in prefixes.items():
            start = next((s for s in starts if key.startswith(s)), None)
            if start is not None:
                name = key[len(start) :]
                if name in inner[part]:
                    raise CheckpointError(
                        f"{source}: {inner[part][name]} and {key} are the same parameter: keep one"
                    )
                inner[part][name] = key
                break
        else:
            unknown.append(key)
    if unknown:
        raise CheckpointError(f"{source}: unknown parameters {name_some(unknown)}")
    return inner


def clip_part(shapes: Shapes, source: str) -> Part:
    """Account for every tensor of CLIP-L's text model, by the names that transformers has inside.

    Raises:
        CheckpointError: Parameters that tell a size are missing.
    """
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
