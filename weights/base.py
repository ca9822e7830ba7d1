"""The frozen model under an adapter: UNet, VAE, text encoder, tokenizer, scheduler's config.

Where it can come from: the model that ships with lavallama ("embedded"), a folder in diffusers'
layout, a hub id, a short name of `weights.registry`, or a single file (`.safetensors`, `.ckpt`)
of Stable Diffusion 1.x, 2.x or XL, or an official GLIGEN `.bin`. When the source has GLIGEN's
gates inside (a gated diffusers UNet, an official GLIGEN checkpoint), the base is the plain model
without them and `adapter_source` says where `weights.gligen.read_adapter` finds them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from gligen.patch_autoencoder import PatchAutoencoder
from grounding.errors import CheckpointError
from weights.choose import choose_text_encoder
from weights.clip_tokenizer import load_clip_tokenizer
from weights.components import (
    fill,
    make_projected_text_encoder,
    make_text_encoder,
    make_unet,
    make_vae,
)
from weights.hub import fetch_base, fetch_files, fetch_vae
from weights.ldm import SCALING, Family
from weights.ldm_unet import check_channels
from weights.model_source import (
    Component,
    ModelSource,
    open_configs,
    open_model,
    open_text_encoder,
    open_vae,
)
from weights.prediction import find_prediction_type
from weights.registry import EMBEDDED, embedded, lookup
from weights.tokenizer import load_tokenizer

__all__ = ["BaseModel", "load_base", "load_unet"]

DOWNLOADED = 10**9  # parameters of models that are downloaded, about: which variant is wanted
MAKERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "unet": make_unet,
    "vae": make_vae,
    "text_encoder": make_text_encoder,
    "text_encoder_2": make_projected_text_encoder,
}
SECOND = "text_encoder_2"
SD2_LARGE = 96  # latent cells of one side: those of SD 2.x that predict v draw 768 pixels
CURES = {
    "vae": ("VAE (first_stage_model.*, vae/)", "--vae, such as --vae sd-vae-ft-mse"),
    "text_encoder": (
        "text encoder (cond_stage_model.*, conditioner.*, text_encoder/)",
        "--text-encoder, such as --text-encoder sd15",
    ),
    SECOND: (
        "second text encoder (conditioner.embedders.1.model.*, text_encoder_2/)",
        "--text-encoder, such as --text-encoder sdxl",
    ),
}
# What draws by other laws of noise than a chain of betas.
OTHER_SCHEDULERS = ("EDM", "FlowMatch")
SHIFTS = ("latents_mean", "latents_std", "shift_factor")  # of latents, in the configs of VAEs


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A text-to-image latent diffusion model, frozen and in evaluation mode.

    Attributes:
        unet: The denoiser, without gates.
        vae: The autoencoder between pictures and latents.
        text_encoder: CLIP's text model: captions and phrases.
        tokenizer: Its tokenizer.
        scheduler_config: Of a diffusers scheduler, `_class_name` included.
        source: What was asked for.
        adapter_source: Where `read_adapter` finds the adapter that came with it, if one did.
        text_encoder_2: Of a model with two (SDXL): OpenCLIP's, with its projection.
        tokenizer_2: Its tokenizer.
        zero_negative: An empty negative prompt is told as zeros (SDXL).
        replaced: "vae" and "text_encoder" -> where they are from, if not from the source.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL | AutoencoderTiny | PatchAutoencoder
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler_config: dict[str, Any]
    source: str
    adapter_source: str | None = None
    text_encoder_2: CLIPTextModelWithProjection | None = None
    tokenizer_2: CLIPTokenizer | None = None
    zero_negative: bool = False
    replaced: Mapping[str, str] = field(default_factory=dict)

    @property
    def inpaints(self) -> bool:
        """Whether the UNet itself reads a mask and a masked picture beside the latents."""
        return self.unet.config["in_channels"] > self.unet.config["out_channels"]


def load_base(
    source: str | Path = EMBEDDED,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | Callable[[int], torch.dtype] | None = None,
    offline: bool = False,
    tokenizer: str | Path | None = None,
    vae: str | Path | None = None,
    text_encoder: str | Path | None = None,
) -> BaseModel:
    """Load a base model, strictly.

    Args:
        source: "embedded", a folder or file, a hub id, or a short name of `weights.registry`.
        device: Where the models are to be.
        dtype: Type of the parameters, or what says it of their number in the UNet; float32 when
            not given.
        offline: Never use the network; what was downloaded before is found.
        tokenizer: Folder or hub id of a CLIP tokenizer (`vocab.json`, `merges.txt`); by default
            the one in the folder; for a single file a folder `tokenizer` beside it, else the one
            that ships with lavallama (`weights.clip_tokenizer`).
        vae: A VAE in place of the source's, or where it has none: a folder or file of one, or of a
            whole model, a hub id, or a short name.
        text_encoder: Text encoders and tokenizers, likewise.

    Raises:
        CheckpointError: Not a model of a known layout, incomplete, or damaged; or parts that do
            not belong together.
        OfflineError: Something must be downloaded and cannot be.
    """
    dtype = dtype or torch.float32
    half = (dtype if isinstance(dtype, torch.dtype) else dtype(DOWNLOADED)) != torch.float32
    path = _local_base(str(source), offline=offline, half=half, own_vae=vae is None)
    found = open_model(path, half=half)
    components, texts = dict(found.components), found
    family = _check_unet(components["unet"].config, found)
    if vae is not None:
        replaced = open_vae(_local(str(vae), "vae", offline=offline), family, half=half)
        components["vae"] = _fitting_vae(replaced, components.get("vae"), family)
    if text_encoder is not None:
        path = _local(str(text_encoder), "text_encoder", offline=offline)
        texts = open_text_encoder(path, half=half)
        components |= texts.components
    _check_complete(components, family, found.where)
    _check_latents(components)
    scheduler = _check_scheduler(found)
    words: Any = _tokenizers(texts, found, tokenizer, family, offline=offline)
    models = _build(components, family, {"device": device, "dtype": dtype})
    _check_context(models, str(found.where))
    if "prediction_type" not in scheduler and found.family == "sd2":
        predicts = find_prediction_type(models["unet"])
        scheduler = {**scheduler, "prediction_type": predicts}
        if predicts == "v_prediction":
            models["unet"].register_to_config(sample_size=SD2_LARGE)
    return BaseModel(
        **models,
        **words,
        zero_negative=family == "sdxl" and found.zero_negative,
        scheduler_config=dict(scheduler),
        source=str(source),
        adapter_source=_adapter_of(str(source), found),
        replaced={
            part: str(given)
            for part, given in (("vae", vae), ("text_encoder", text_encoder))
            if given is not None
        },
    )


def load_unet(
    source: str | Path, *, dtype: torch.dtype | None = None, offline: bool = False
) -> UNet2DConditionModel:
    """Load the UNet of a base model alone, without gates, on the CPU.

    Args and Raises: as for `load_base`.
    """
    found = open_model(_local_base(str(source), offline=offline, half=False, own_vae=False))
    component = found.components["unet"]
    family = _check_unet(component.config, found)
    place = {"device": "cpu", "dtype": dtype or torch.float32}
    return _build({"unet": component}, family, place)["unet"]


def _check_configs(found: ModelSource, own_vae: bool) -> None:
    """Refuse by its configs what cannot be drawn with."""
    _check_unet(found.components["unet"].config, found)
    _check_scheduler(found)
    if own_vae and "vae" in found.components:
        _check_latents(found.components)


def _build(
    components: Mapping[str, Component], family: Family, place: dict[str, Any]
) -> dict[str, Any]:
    """Make the models one after the other, each empty, and give them their parameters."""
    models = {}
    for part, make in MAKERS.items():
        if part in components:
            component = components[part]
            empty = make(component.config)
            place = _settle(place, empty)
            where = _place_of(part, component.config, family, place)
            models[part] = fill(empty, component.read(), component.where, **where)
    return models


def _settle(place: dict[str, Any], unet: torch.nn.Module) -> dict[str, Any]:
    """Settle the type of all models by the size of the UNet, which is made first."""
    if isinstance(place["dtype"], torch.dtype):
        return place
    return {**place, "dtype": place["dtype"](sum(p.numel() for p in unet.parameters()))}


def _local_base(source: str, *, offline: bool, half: bool, own_vae: bool) -> Path:
    """Find a model on this machine, or download it; `own_vae`: its own VAE will be used."""
    if source == EMBEDDED:
        return embedded("base")
    if Path(source).exists():
        return Path(source)

    def check(folder: Path) -> None:
        if (folder / "unet" / "config.json").is_file():
            _check_configs(open_configs(folder), own_vae)

    return fetch_base(source, offline=offline, half=half, check=check)


def _local(source: str, kind: str, *, offline: bool) -> Path:
    """Find a VAE or a text encoder on this machine, or download it."""
    if source == EMBEDDED:
        return embedded("base")
    if Path(source).exists():
        return Path(source)
    if kind == "vae":
        return fetch_vae(source, offline=offline)
    known = lookup(source)
    return fetch_files(known.source if known else source, choose_text_encoder, offline=offline)


def _check_unet(config: Mapping[str, Any], found: ModelSource) -> Family:
    """Refuse UNets that are told more than words, latents and, for SDXL, the picture's size.

    Returns:
        The family; of what reads one text encoder "sd1", unless a single file says otherwise.
    """
    latents = config.get("out_channels", 4)
    check_channels(config.get("in_channels", 4), latents, found.gated, str(found.where))
    told = {
        name: config[name]
        for name in ("class_embed_type", "addition_embed_type", "encoder_hid_dim_type")
        if config.get(name) is not None
    }
    if told not in ({}, {"addition_embed_type": "text_time"}):
        raise CheckpointError(
            f"{found.where}: expected the UNet of Stable Diffusion 1.x or 2.x, or of SDXL "
            f"(addition_embed_type text_time); got {told}"
        )
    return "sdxl" if told else found.family or "sd1"


def _check_complete(components: Mapping[str, Component], family: Family, where: Path) -> None:
    """Check that there is what a model of this family draws with, and nothing else."""
    wanted = [part for part in MAKERS if part != SECOND or family == "sdxl"]
    for part in wanted:
        if part not in components:
            name, cure = CURES[part]
            raise CheckpointError(f"{where}: no {name} in it: give one with {cure}")
    if len(components) > len(wanted):
        raise CheckpointError(
            f"{where}: expected the UNet of Stable Diffusion 1.x or 2.x with one text encoder, or "
            "of SDXL with two; got a plain one with two"
        )


def _fitting_vae(found: ModelSource, own: Component | None, family: Family) -> Component:
    """The VAE in place of a model's own, whose latents must be of the same scale.

    Raises:
        CheckpointError: They are not.
    """
    component = found.components["vae"]

    def scale(config: Mapping[str, Any]) -> float | None:
        whole = config.get("_class_name", "AutoencoderKL") == "AutoencoderKL"
        return config.get("scaling_factor", SCALING["sd1"]) if whole else None

    got = scale(component.config)
    wanted = SCALING[family] if own is None else scale(own.config)
    if got is not None and wanted is not None and got != wanted:
        raise CheckpointError(
            f"{found.where}: its latents are scaled by {got}, the model's by {wanted}: it is the "
            "VAE of another kind of Stable Diffusion"
        )
    return component


def _check_latents(components: Mapping[str, Component]) -> None:
    """Check that the VAE's latents are those that the UNet reads, and only scaled."""
    vae = components["vae"]
    shifted = [name for name in SHIFTS if vae.config.get(name)]  # AutoencoderTiny says 0
    if shifted:
        raise CheckpointError(
            f"{vae.where}: its latents are shifted ({', '.join(shifted)}), which those of Stable "
            "Diffusion 1.x, 2.x and XL are not: it belongs to another model"
        )
    wanted = components["unet"].config.get("out_channels", 4)
    got = vae.config.get("latent_channels", wanted)
    if got != wanted:
        raise CheckpointError(
            f"{vae.where}: its latents have {got} channels, the UNet draws {wanted}: they do not "
            "belong together"
        )


def _check_scheduler(found: ModelSource) -> dict[str, Any]:
    """Refuse noise that no scheduler here draws by."""
    scheduler = found.scheduler or {}
    name = str(scheduler.get("_class_name"))
    if name.startswith(OTHER_SCHEDULERS):
        raise CheckpointError(
            f"{found.where}: it learnt the noise of {name}, by which no scheduler here draws: take "
            "a model of Stable Diffusion's noise, such as sdxl"
        )
    return scheduler


def _check_context(models: Mapping[str, Any], source: str) -> None:
    """Check that the UNet attends to as many channels as the text encoders give."""
    wanted = models["unet"].config["cross_attention_dim"]
    encoders = [models[name] for name in ("text_encoder", SECOND) if name in models]
    given = sum(encoder.config.hidden_size for encoder in encoders)
    if wanted != given:
        raise CheckpointError(
            f"{source}: its UNet attends to {wanted} channels, its text encoders give {given}: "
            "they do not belong together"
        )


def _place_of(
    part: str, config: Mapping[str, Any], family: Family, place: dict[str, Any]
) -> dict[str, Any]:
    """Device and type of one part: SDXL's autoencoder overflows in float16, and says so."""
    overflows = part == "vae" and family == "sdxl" and config.get("force_upcast", True)
    if overflows and place["dtype"] == torch.float16:
        return {**place, "dtype": torch.float32}
    return place


def _adapter_of(source: str, found: ModelSource) -> str | None:
    """Where the adapter is that comes with a base: its own gates, or the embedded one."""
    if source == EMBEDDED:
        beside = found.where.parent / "gligen"
        return EMBEDDED if beside.is_dir() else None
    return str(found.where) if found.gated else None


def _tokenizers(
    texts: ModelSource,
    model: ModelSource,
    asked: str | Path | None,
    family: Family,
    *,
    offline: bool,
) -> dict[str, CLIPTokenizer]:
    """Load the tokenizers that belong to the text encoders.

    Args:
        texts: Where the text encoders are from.
        model: Where the UNet is from.
        asked: A tokenizer that the caller wants in place of theirs.
        family: Whose text encoders they are.
        offline: Never use the network.
    """
    folders = texts.tokenizers or model.tokenizers
    names = ("tokenizer", "tokenizer_2") if family == "sdxl" else ("tokenizer",)
    if texts.family is None and texts is model:  # a folder, which is complete or damaged
        for name in names:
            if name not in folders and (asked is None or name != "tokenizer"):
                raise CheckpointError(
                    f"{model.where / name}: no such folder: is the model's complete?"
                )
    if all(name in folders for name in names):
        first = load_tokenizer(asked or folders["tokenizer"], offline=offline)
        second = {name: load_tokenizer(folders[name]) for name in names[1:]}
        return {"tokenizer": first, **second}
    words = _tokenizer_for_file(texts.where, asked or folders.get("tokenizer"), offline)
    if family == "sdxl":
        second = _padding_with_zeros(copy.deepcopy(words))
        return {"tokenizer": words, "tokenizer_2": second}
    return {"tokenizer": _padding_with_zeros(words) if texts.family == "sd2" else words}


def _padding_with_zeros(tokenizer: CLIPTokenizer) -> CLIPTokenizer:
    """Make a CLIP tokenizer pad as OpenCLIP does: with token 0."""
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def _tokenizer_for_file(path: Path, tokenizer: str | Path | None, offline: bool) -> CLIPTokenizer:
    if tokenizer is not None:
        return load_tokenizer(tokenizer, offline=offline)
    beside = path.parent / "tokenizer"
    if beside.is_dir():
        return load_tokenizer(beside)
    return load_clip_tokenizer()
