"""Builds the parts of a base model (UNet, VAE, text encoder) and fills them strictly.

Every model is made on the meta device and takes the checkpoint's tensors as they are: nothing is
initialised first, nothing is held twice. A parameter that is missing, left over or of the wrong
shape is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import init_empty_weights
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from gligen.patch_autoencoder import PatchAutoencoder
from grounding.errors import CheckpointError
from weights.choose import STEMS, WEIGHT_SUFFIXES, choose_set
from weights.keymap import gate_of, name_some
from weights.tensor_file import TensorFile

__all__ = [
    "fill",
    "find_weights",
    "make_projected_text_encoder",
    "make_text_encoder",
    "make_unet",
    "make_vae",
    "read_config",
    "read_folder",
]

Model = TypeVar("Model", bound=nn.Module)

VAE_CLASSES = {
    "AutoencoderKL": AutoencoderKL,
    "AutoencoderTiny": AutoencoderTiny,
    "PatchAutoencoder": PatchAutoencoder,
}
# diffusers before 0.18 named the projections of the VAE's attention so; SD 1.x repositories do.
OLD_VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_VAE_KEY = re.compile(r"(\.mid_block\.attentions\.0)\.(query|key|value|proj_attn)\.")
VAE_LINEAR = re.compile(r"\.attentions\.0\.to_(q|k|v|out\.0)\.weight$")


def make_unet(config: Mapping[str, Any]) -> UNet2DConditionModel:
    """Make an empty plain UNet; a config that asks for GLIGEN's gates gets a UNet without them."""
    values = {key: value for key, value in config.items() if not key.startswith("_")}
    if str(values.get("attention_type", "default")).startswith("gated"):
        values["attention_type"] = "default"
    with init_empty_weights(include_buffers=False):
        model = UNet2DConditionModel.from_config(values)
    assert isinstance(model, UNet2DConditionModel)
    return model


def make_vae(config: Mapping[str, Any]) -> AutoencoderKL | AutoencoderTiny | PatchAutoencoder:
    """Make an empty autoencoder of the class that the config names (AutoencoderKL by default)."""
    name = config.get("_class_name", "AutoencoderKL")
    if name not in VAE_CLASSES:
        raise CheckpointError(f"expected a VAE of {' or '.join(VAE_CLASSES)}, got {name}")
    values = {key: value for key, value in config.items() if not key.startswith("_")}
    with init_empty_weights(include_buffers=False):
        return VAE_CLASSES[name].from_config(values)


def make_text_encoder(config: Mapping[str, Any]) -> CLIPTextModel:
    """Make an empty CLIP text model."""
    settings = _text_config(config)
    with init_empty_weights(include_buffers=False):
        return CLIPTextModel(settings)


def make_projected_text_encoder(config: Mapping[str, Any]) -> CLIPTextModelWithProjection:
    """Make an empty CLIP text model with its projection: the second one of SDXL."""
    settings = _text_config(config)
    with init_empty_weights(include_buffers=False):
        return CLIPTextModelWithProjection(settings)


def _text_config(config: Mapping[str, Any]) -> CLIPTextConfig:
    kind = config.get("model_type", "clip_text_model")
    if kind != "clip_text_model":
        raise CheckpointError(f"expected a text encoder of type clip_text_model, got {kind}")
    values = {k: v for k, v in config.items() if k not in ("dtype", "torch_dtype")}
    return CLIPTextConfig.from_dict(values)


def fill(
    model: Model,
    state: Mapping[str, Tensor],
    source: str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Model:
    """Give an empty model its parameters; it comes back frozen and in evaluation mode.

    Args:
        model: Made by one of the functions above.
        state: Its parameters by name; also in the spelling of older versions of the libraries.
        source: What was read, for messages.
        device: Where the model is to be.
        dtype: Type of the parameters; as stored when not given.

    Raises:
        CheckpointError: Names or shapes are not those of the model.
    """
    wanted = model.state_dict()
    state = _modern_names(state, wanted, source)
    problems = []
    if missing := wanted.keys() - state.keys():
        problems.append(f"missing {name_some(missing)}")
    if unknown := state.keys() - wanted.keys():
        problems.append(f"unknown {name_some(unknown)}")
    if problems:
        raise CheckpointError(f"{source}: not a {type(model).__name__}: {'; '.join(problems)}")
    ready = {}
    for key, tensor in state.items():
        if VAE_LINEAR.search(key) and tensor.dim() == 4:
            tensor = tensor.flatten(1)  # latent-diffusion: a 1x1 convolution; diffusers: linear
        if tensor.shape != wanted[key].shape:
            raise CheckpointError(
                f"{source}: {key} has shape {tuple(tensor.shape)}, expected "
                f"{tuple(wanted[key].shape)}"
            )
        ready[key] = tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
    model.load_state_dict(ready, assign=True)
    return model.to(device).eval().requires_grad_(False)


def _modern_names(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """Translate older spellings of the same parameters.

    transformers 5 dropped `text_model.` before the names of CLIP's text model, transformers 4 has
    it; some files hold the buffer `position_ids`, which is no parameter.
    """
    prefix = "text_model."
    inner = {key.removeprefix(prefix): key for key in wanted}
    is_text = any(key.endswith("embeddings.token_embedding.weight") for key in wanted)
    names: dict[str, Tensor] = {}
    for key in state:
        name = key
        if is_text:
            if key.endswith("embeddings.position_ids"):
                continue
            name = key.removeprefix(prefix)
            name = inner.get(name, name)
        else:
            name = OLD_VAE_KEY.sub(lambda m: f"{m[1]}.{OLD_VAE_ATTENTION[m[2]]}.", key)
        if name in names:
            raise CheckpointError(f"{source}: {name} by two names, one is {key}: keep one")
        names[name] = state[key]
    return names


def read_config(path: Path) -> dict[str, Any]:
    """Read a model's config file.

    Raises:
        CheckpointError: No such file, or not a JSON object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file: is the model's folder complete?") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected a JSON object ({error})") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(config).__name__}")
    return config


def read_folder(folder: Path, *, half: bool = False) -> dict[str, Tensor]:
    """Read the weights in one folder of a diffusers pipeline; GLIGEN's gates are left out.

    Args:
        folder: `unet`, `vae` or `text_encoder`.
        half: Prefer a half-precision variant where there are both.

    Raises:
        CheckpointError: No weights, or damaged ones.
    """
    state: dict[str, Tensor] = {}
    for file in find_weights(folder, half=half):
        state.update(file.read(key for key in file.shapes if not _is_gate(key)))
    return state


def find_weights(folder: Path, *, half: bool = False) -> list[TensorFile]:
    """Open the files of weights in a folder, by the rule that downloads follow.

    Args and Raises: as for `read_folder`.
    """
    sizes = {file.name: file.stat().st_size for file in sorted(folder.glob("*")) if file.is_file()}
    chosen = choose_set(sizes, half=half)
    if not chosen:
        found = name_some(name for name in sizes if name.endswith(WEIGHT_SUFFIXES))
        raise CheckpointError(
            f"{folder}: expected {STEMS[0]}.safetensors or {STEMS[1]}.safetensors, found "
            f"{found or 'none'}"
        )
    index = [name for name in chosen if name.endswith(".json")]
    return [TensorFile(folder / name) for name in index or chosen]


def _is_gate(key: str) -> bool:
    return gate_of(key) is not None or key.startswith("position_net.")
