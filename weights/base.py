"""The frozen model under an adapter: UNet, VAE, text encoder, tokenizer, scheduler's config.

Where it can come from: the model that ships with lavallama ("embedded"), a folder in diffusers'
layout, a hub id, a short name of `weights.registry`, or a single file (`.safetensors`, `.ckpt`)
of Stable Diffusion 1.x or an official GLIGEN `.bin`. When the source has GLIGEN's gates inside
(a gated diffusers UNet, an official GLIGEN checkpoint), the base is the plain model without them
and `adapter_source` says where `weights.gligen.read_adapter` finds them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from gligen.patch_autoencoder import PatchAutoencoder
from grounding.errors import CheckpointError, OfflineError
from weights import ldm
from weights.components import (
    fill,
    make_text_encoder,
    make_unet,
    make_vae,
    read_config,
    read_folder,
)
from weights.hub import fetch_base, fetch_tokenizer
from weights.keymap import gate_of
from weights.registry import EMBEDDED, embedded
from weights.tensor_file import PICKLE_SUFFIXES, TensorFile

__all__ = ["BaseModel", "load_base", "load_tokenizer"]

CLIP_L = "openai/clip-vit-large-patch14"  # whose vocabulary Stable Diffusion 1.x uses
MAKERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "unet": make_unet,
    "vae": make_vae,
    "text_encoder": make_text_encoder,
}
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
    dtype: torch.dtype | None = None,
    offline: bool = False,
    tokenizer: str | Path | None = None,
) -> BaseModel:
    """Load a base model, strictly.

    Args:
        source: "embedded", a folder or file, a hub id, or a short name of `weights.registry`.
        device: Where the models are to be.
        dtype: Type of the parameters; float32 when not given.
        offline: Never use the network; what was downloaded before is found.
        tokenizer: Folder or hub id of a CLIP tokenizer (`vocab.json`, `merges.txt`); by default
            the one in the folder; for a single file a folder `tokenizer` beside it, else CLIP-L's
            from the hub or its cache.

    Raises:
        CheckpointError: Not a model of a known layout, incomplete, or damaged.
        OfflineError: Something must be downloaded and cannot be.
    """
    half = dtype in (torch.float16, torch.bfloat16)
    dtype = dtype or torch.float32
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
    if (folder / "text_encoder_2").exists():
        raise CheckpointError(
            f"{folder}: a model with two text encoders is not supported as a base"
        )
    half = place["dtype"] != torch.float32
    config = read_config(folder / "unet" / "config.json")
    if config.get("in_channels", 4) != config.get("out_channels", 4):
        raise CheckpointError(
            f"{folder}: its UNet takes {config['in_channels']} channels, expected "
            f"{config['out_channels']}: a checkpoint for inpainting is not supported as a base"
        )
    models: dict[str, Any] = {}
    for part, make in MAKERS.items():
        here = folder / part
        model = make(read_config(here / "config.json"))
        models[part] = fill(model, read_folder(here, half=half), str(here), **place)
    words = tokenizer or folder / "tokenizer"
    return BaseModel(
        **models,
        tokenizer=load_tokenizer(words, offline=offline),
        scheduler_config=read_config(folder / "scheduler" / "scheduler_config.json"),
        source=source,
        adapter_source=_adapter_of(source, folder, config),
    )


def _adapter_of(source: str, folder: Path, unet_config: dict[str, Any]) -> str | None:
    """Where the adapter is that comes with a base: its own gates, or the embedded one."""
    if source == EMBEDDED:
        beside = folder.parent / "gligen"
        return EMBEDDED if beside.is_dir() else None
    gated = str(unet_config.get("attention_type", "default")).startswith("gated")
    return str(folder) if gated else None


def _load_file(
    path: Path, source: str, tokenizer: str | Path | None, offline: bool, place: dict[str, Any]
) -> BaseModel:
    """Load a single file: Stable Diffusion 1.x, or an official GLIGEN checkpoint."""
    if path.suffix not in (".safetensors", *PICKLE_SUFFIXES):
        raise CheckpointError(
            f"{path}: expected a folder, .safetensors or {', '.join(PICKLE_SUFFIXES)}"
        )
    file = TensorFile(path)
    parts = ldm.read_parts(file)
    models: dict[str, Any] = {}
    for part, make in MAKERS.items():
        names = parts[part].names
        state = {names[key]: tensor for key, tensor in file.read(names).items()}
        models[part] = fill(make(parts[part].config), state, f"{path} ({part})", **place)
    gated = any(gate_of(key) is not None for key in file.shapes)
    return BaseModel(
        **models,
        tokenizer=_tokenizer_for_file(path, tokenizer, offline),
        scheduler_config=dict(ldm.SD1_SCHEDULER),
        source=source,
        adapter_source=str(path) if gated else None,
    )


def _tokenizer_for_file(path: Path, tokenizer: str | Path | None, offline: bool) -> CLIPTokenizer:
    if tokenizer is not None:
        return load_tokenizer(tokenizer, offline=offline)
    beside = path.parent / "tokenizer"
    if beside.is_dir():
        return load_tokenizer(beside)
    try:
        return load_tokenizer(CLIP_L, offline=offline)
    except OfflineError as error:
        raise OfflineError(
            f"{path}: a single file has no tokenizer, and CLIP's ({CLIP_L}) is neither on this "
            "machine nor reachable: put its vocab.json and merges.txt (the tokenizer folder of "
            f"any Stable Diffusion 1.x) into {beside}, or use --model embedded"
        ) from error


def load_tokenizer(source: str | Path, *, offline: bool = False) -> CLIPTokenizer:
    """Load a CLIP tokenizer from a folder or a hub id.

    Raises:
        CheckpointError: The folder does not hold one.
        OfflineError: It must be downloaded and cannot be.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = fetch_tokenizer(str(source), offline=offline)
    files = ("vocab.json", "merges.txt")
    if not (folder / "tokenizer.json").is_file() and not all((folder / f).is_file() for f in files):
        raise CheckpointError(f"{folder}: expected a CLIP tokenizer ({' and '.join(files)})")
    try:
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        # The tokenizers library raises bare exceptions for damaged files.
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{folder}: not a CLIP tokenizer ({line})") from error
