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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from gligen.patch_autoencoder import PatchAutoencoder
from grounding.errors import CheckpointError
from weights.clip_tokenizer import load_clip_tokenizer
from weights.components import (
    fill,
    make_projected_text_encoder,
    make_text_encoder,
    make_unet,
    make_vae,
    read_config,
    read_folder,
)
from weights.hub import fetch_base
from weights.keymap import gate_of
from weights.ldm import read_checkpoint
from weights.ldm_unet import check_channels
from weights.prediction import find_prediction_type
from weights.registry import EMBEDDED, embedded
from weights.tensor_file import PICKLE_SUFFIXES, TensorFile
from weights.tokenizer import load_tokenizer

__all__ = ["BaseModel", "load_base"]

DOWNLOADED = 10**9  # parameters of models that are downloaded, about: which variant is wanted
MAKERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "unet": make_unet,
    "vae": make_vae,
    "text_encoder": make_text_encoder,
    "text_encoder_2": make_projected_text_encoder,
}
SECOND = "text_encoder_2"
SD2_LARGE = 96  # latent cells of one side: those of SD 2.x that predict v draw 768 pixels
PIPELINE_INDEX = "model_index.json"


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

    Raises:
        CheckpointError: Not a model of a known layout, incomplete, or damaged.
        OfflineError: Something must be downloaded and cannot be.
    """
    dtype = dtype or torch.float32
    half = (dtype if isinstance(dtype, torch.dtype) else dtype(DOWNLOADED)) != torch.float32
    if str(source) == EMBEDDED:
        path = embedded("base")
    elif Path(source).exists():
        path = Path(source)
    else:
        path = fetch_base(str(source), offline=offline, half=half)
    place = {"device": device, "dtype": dtype}
    if path.is_file():
        return _load_file(path, str(source), tokenizer, offline, place)
    return _load_folder(path, str(source), tokenizer, offline, place)


def _load_folder(
    folder: Path, source: str, tokenizer: str | Path | None, offline: bool, place: dict[str, Any]
) -> BaseModel:
    """Load a folder in diffusers' layout."""
    if not (folder / "unet" / "config.json").is_file():
        raise CheckpointError(
            f"{folder}: expected a folder in diffusers' layout ({PIPELINE_INDEX}, unet/, vae/, "
            "text_encoder/, tokenizer/, scheduler/); found no unet/config.json"
        )
    config = read_config(folder / "unet" / "config.json")
    two = (folder / SECOND).is_dir()
    _check_unet(config, two, folder)
    models: dict[str, Any] = {}
    for part, make in MAKERS.items():
        if part == SECOND and not two:
            continue
        here = folder / part
        said = read_config(here / "config.json")
        empty = make(said)
        place = _settle(place, empty)
        where = _place_of(part, said, two, place)
        state = read_folder(here, half=place["dtype"] != torch.float32)
        models[part] = fill(empty, state, str(here), **where)
    _check_context(models, str(folder))
    for words in ("tokenizer", "tokenizer_2") if two else ("tokenizer",):
        if not (folder / words).is_dir() and (tokenizer is None or words != "tokenizer"):
            raise CheckpointError(f"{folder / words}: no such folder: is the model's complete?")
    index = folder / PIPELINE_INDEX
    asked = read_config(index) if index.is_file() else {}
    return BaseModel(
        **models,
        tokenizer=load_tokenizer(tokenizer or folder / "tokenizer", offline=offline),
        tokenizer_2=load_tokenizer(folder / "tokenizer_2") if two else None,
        zero_negative=two and bool(asked.get("force_zeros_for_empty_prompt", True)),
        scheduler_config=read_config(folder / "scheduler" / "scheduler_config.json"),
        source=source,
        adapter_source=_adapter_of(source, folder, config),
    )


def _check_unet(config: Mapping[str, Any], two: bool, folder: Path) -> None:
    """Refuse UNets that are told more than words, latents and, for SDXL, the picture's size."""
    latents = config.get("out_channels", 4)
    check_channels(config.get("in_channels", 4), latents, _is_gated(config), str(folder))
    told = {
        name: config[name]
        for name in ("class_embed_type", "addition_embed_type", "encoder_hid_dim_type")
        if config.get(name) is not None
    }
    if told != ({"addition_embed_type": "text_time"} if two else {}):
        raise CheckpointError(
            f"{folder}: expected the UNet of Stable Diffusion 1.x or 2.x with one text encoder, or "
            f"of SDXL (addition_embed_type text_time) with two; got {told or 'a plain one'} with "
            f"{'two' if two else 'one'}"
        )


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


def _settle(place: dict[str, Any], unet: torch.nn.Module) -> dict[str, Any]:
    """Settle the type of all models by the size of the UNet, which is made first."""
    if isinstance(place["dtype"], torch.dtype):
        return place
    return {**place, "dtype": place["dtype"](sum(p.numel() for p in unet.parameters()))}


def _place_of(
    part: str, config: Mapping[str, Any], two: bool, place: dict[str, Any]
) -> dict[str, Any]:
    """Device and type of one part: SDXL's autoencoder overflows in float16, and says so."""
    overflows = part == "vae" and two and config.get("force_upcast", True)
    if overflows and place["dtype"] == torch.float16:
        return {**place, "dtype": torch.float32}
    return place


def _is_gated(unet_config: Mapping[str, Any]) -> bool:
    return str(unet_config.get("attention_type", "default")).startswith("gated")


def _adapter_of(source: str, folder: Path, unet_config: dict[str, Any]) -> str | None:
    """Where the adapter is that comes with a base: its own gates, or the embedded one."""
    if source == EMBEDDED:
        beside = folder.parent / "gligen"
        return EMBEDDED if beside.is_dir() else None
    return str(folder) if _is_gated(unet_config) else None


def _load_file(
    path: Path, source: str, tokenizer: str | Path | None, offline: bool, place: dict[str, Any]
) -> BaseModel:
    """Load a single file: Stable Diffusion, or an official GLIGEN checkpoint."""
    if path.suffix not in (".safetensors", *PICKLE_SUFFIXES):
        raise CheckpointError(
            f"{path}: expected a folder, .safetensors or {', '.join(PICKLE_SUFFIXES)}"
        )
    file = TensorFile(path)
    found = read_checkpoint(file)
    two = found.family == "sdxl"
    words = _tokenizer_for_file(path, tokenizer, offline)
    models: dict[str, Any] = {}
    place = _settle(place, MAKERS["unet"](found.parts["unet"].config))
    for part, content in found.parts.items():
        where = _place_of(part, content.config, two, place)
        state = content.read(file)
        models[part] = fill(MAKERS[part](content.config), state, f"{path} ({part})", **where)
    _check_context(models, str(path))
    scheduler = found.scheduler
    if "prediction_type" not in scheduler:
        predicts = find_prediction_type(models["unet"])
        scheduler = {**scheduler, "prediction_type": predicts}
        if predicts == "v_prediction":
            models["unet"].register_to_config(sample_size=SD2_LARGE)
    gated = any(gate_of(key) is not None for key in file.shapes)
    return BaseModel(
        **models,
        tokenizer=_padding_with_zeros(words) if found.family == "sd2" else words,
        tokenizer_2=_padding_with_zeros(copy.deepcopy(words)) if two else None,
        zero_negative=two,
        scheduler_config=dict(scheduler),
        source=source,
        adapter_source=str(path) if gated else None,
    )


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
