"""What a folder or file offers to a base model: described, not read yet.

| source                                        | what it has                                     |
|-----------------------------------------------|-------------------------------------------------|
| folder in diffusers' layout                   | every part, tokenizers, scheduler               |
| folder of one model (config.json, weights)    | that VAE or text encoder, a tokenizer           |
| single file of Stable Diffusion or GLIGEN     | a UNet, and what else is in it                  |
| single file of a VAE, or of CLIP's text model | that part                                       |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from grounding.errors import CheckpointError
from weights.choose import choose_tokenizer
from weights.components import find_weights, read_config, read_folder
from weights.keymap import gate_of
from weights.ldm import FAMILY_CELLS, SCALING, Family, clip_part, read_checkpoint
from weights.ldm_vae import vae_part
from weights.left_out import IGNORED
from weights.part import Part
from weights.tensor_file import PICKLE_SUFFIXES, TensorFile

__all__ = [
    "Component",
    "ModelSource",
    "open_configs",
    "open_model",
    "open_text_encoder",
    "open_vae",
]

FOLDERS = ("unet", "vae", "text_encoder", "text_encoder_2")
WORDS = ("tokenizer", "tokenizer_2")
PIPELINE_INDEX = "model_index.json"
WEIGHT_SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)
VAE_STEMS = ("first_stage_model.", "autoencoder.", "vae.")  # before the names of a VAE alone
TEXT_STEMS = ("cond_stage_model.transformer.text_model.", "transformer.text_model.", "text_model.")
CLIP_PICTURES = ("vision_model.", "visual_projection.")  # of a whole CLIP: what reads no text
CLIP_ENDS = ("text_projection.weight", "logit_scale")


@dataclass(frozen=True, kw_only=True)
class Component:
    """One model: its config, and its parameters on request.

    Attributes:
        config: As diffusers or transformers writes it.
        read: Reads the parameters, by the model's names.
        where: What is read, for messages.
    """

    config: dict[str, Any]
    read: Callable[[], dict[str, Tensor]]
    where: str


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """The parts of a base model that one place has.

    Attributes:
        where: The place.
        components: By diffusers' names of the folders.
        tokenizers: "tokenizer" and "tokenizer_2" -> folders.
        scheduler: A scheduler's config, if the place has one; of SD 2.x in a single file without
            its prediction type, which nothing there tells.
        family: Whose text encoders a single file has; a folder says it all by itself.
        gated: GLIGEN's gates are in the UNet, as its weights or its config say.
        zero_negative: Of SDXL: an empty negative prompt is told as zeros.
    """

    where: Path
    components: dict[str, Component]
    tokenizers: dict[str, Path] = field(default_factory=dict)
    scheduler: dict[str, Any] | None = None
    family: Family | None = None
    gated: bool = False
    zero_negative: bool = True


def open_model(path: Path, *, half: bool = False) -> ModelSource:
    """Open a model: a folder in diffusers' layout, a single file, or a folder with nothing else.

    Args:
        path: The folder or file.
        half: Prefer the fp16 variant of a folder that has both.

    Raises:
        CheckpointError: Not a model of a known layout, incomplete, or damaged.
    """
    if path.is_file():
        return _open_file(path)
    if (path / "unet" / "config.json").is_file():
        return _open_folder(path, half)
    files = [file for file in sorted(path.glob("*")) if file.suffix in WEIGHT_SUFFIXES]
    if len(files) == 1:  # as the official GLIGENs are published
        return _open_file(files[0])
    raise CheckpointError(
        f"{path}: expected a folder in diffusers' layout ({PIPELINE_INDEX}, unet/, vae/, "
        "text_encoder/, tokenizer/, scheduler/); found no unet/config.json"
    )


def open_configs(folder: Path) -> ModelSource:
    """Open a folder in diffusers' layout whose weights are not there yet.

    Raises:
        CheckpointError: A config is missing or damaged.
    """
    return _open_folder(folder, half=False, weights=False)


def open_vae(path: Path, family: Family, *, half: bool = False) -> ModelSource:
    """Open a VAE: the folder or file of one, or of a whole model.

    Args:
        path: The folder or file.
        family: What it is for: what latents are multiplied with stands in no file.
        half: Prefer the fp16 variant of a folder that has both.

    Raises:
        CheckpointError: There is no VAE.
    """
    if path.is_dir():
        return _open_part(path, "vae", half)
    file = TensorFile(path)
    if _has_unet(file):
        return _only(_open_file(path), ("vae",))
    stem = _stem(file, VAE_STEMS)
    names = {key.removeprefix(stem): key for key in file.shapes if not IGNORED.search(key)}
    shapes = {name: file.shapes[key] for name, key in names.items()}
    part = vae_part(shapes, str(path), scaling=SCALING[family], cells=FAMILY_CELLS[family])
    return ModelSource(where=path, components={"vae": _component(part.keyed(names), file, "vae")})


def open_text_encoder(path: Path, *, half: bool = False) -> ModelSource:
    """Open text encoders with their tokenizers: the folder or file of one, or of a whole model.

    Args:
        path: The folder or file.
        half: Prefer the fp16 variant of a folder that has both.

    Raises:
        CheckpointError: There is no text encoder.
    """
    if path.is_dir():
        return _open_part(path, "text_encoder", half)
    file = TensorFile(path)
    if _has_unet(file):
        return _only(_open_file(path), ("text_encoder", "text_encoder_2"))
    names = _clip_text(file, _stem(file, TEXT_STEMS))
    part = clip_part({name: file.shapes[key] for name, key in names.items()}, str(path))
    component = _component(part.keyed(names), file, "text_encoder")
    return ModelSource(where=path, components={"text_encoder": component}, family="sd1")


def _has_unet(file: TensorFile) -> bool:
    return any(key.endswith("input_blocks.0.0.weight") for key in file.shapes)


def _stem(file: TensorFile, stems: tuple[str, ...]) -> str:
    return next((stem for stem in stems if any(k.startswith(stem) for k in file.shapes)), "")


def _clip_text(file: TensorFile, stem: str) -> dict[str, str]:
    """Names inside CLIP's text model -> names in a file, which may be of a whole CLIP."""
    return {
        key.removeprefix(stem): key
        for key in file.shapes
        if not IGNORED.search(key) and not key.startswith(CLIP_PICTURES) and key not in CLIP_ENDS
    }


def _only(source: ModelSource, names: tuple[str, ...]) -> ModelSource:
    found = {name: source.components[name] for name in names if name in source.components}
    if not found:
        raise CheckpointError(f"{source.where}: no {names[0]} in it")
    return ModelSource(
        where=source.where,
        components=found,
        tokenizers=source.tokenizers if "text_encoder" in names else {},
        family=source.family,
    )


def _component(part: Part, file: TensorFile, name: str) -> Component:
    return Component(
        config=part.config, read=lambda: part.read(file), where=f"{file.path} ({name})"
    )


def _open_file(path: Path) -> ModelSource:
    """Open a single file: Stable Diffusion, or an official GLIGEN checkpoint."""
    if path.suffix not in WEIGHT_SUFFIXES:
        raise CheckpointError(
            f"{path}: expected a folder, .safetensors or {', '.join(PICKLE_SUFFIXES)}"
        )
    file = TensorFile(path)
    found = read_checkpoint(file)
    return ModelSource(
        where=path,
        components={name: _component(part, file, name) for name, part in found.parts.items()},
        scheduler=found.scheduler,
        family=found.family,
        gated=any(gate_of(key) is not None for key in file.shapes),
    )


def _open_folder(folder: Path, half: bool, *, weights: bool = True) -> ModelSource:
    """Open a folder in diffusers' layout; parts that are not there must come from elsewhere."""
    index = folder / PIPELINE_INDEX
    asked = read_config(index) if index.is_file() else {}
    unet = folder / "unet"
    told = read_config(unet / "config.json").get("attention_type", "default")
    files = find_weights(unet, half=half) if weights else []
    held = (gate_of(key) for file in files for key in file.shapes)
    components = {
        name: _folder_component(folder / name, half) for name in FOLDERS if (folder / name).is_dir()
    }
    return ModelSource(
        where=folder,
        components=components,
        tokenizers={name: folder / name for name in WORDS if (folder / name).is_dir()},
        scheduler=read_config(folder / "scheduler" / "scheduler_config.json"),
        gated=str(told).startswith("gated") or any(gate is not None for gate in held),
        zero_negative=bool(asked.get("force_zeros_for_empty_prompt", True)),
    )


def _folder_component(folder: Path, half: bool) -> Component:
    return Component(
        config=read_config(folder / "config.json"),
        read=lambda: read_folder(folder, half=half),
        where=str(folder),
    )


def _open_part(folder: Path, name: str, half: bool) -> ModelSource:
    """Open a folder of one model, or what a whole model's folder has of that kind."""
    if (folder / name / "config.json").is_file():
        names = [one for one in FOLDERS if one.startswith(name) and (folder / one).is_dir()]
        found = {one: _folder_component(folder / one, half) for one in names}
        words = {one: folder / one for one in WORDS if (folder / one).is_dir()}
    elif (folder / "config.json").is_file():
        found = {name: _lone_component(folder, name, half)}
        words = {"tokenizer": folder} if choose_tokenizer(_names_in(folder)) else {}
    else:
        raise CheckpointError(f"{folder}: expected a {name}: {name}/config.json or config.json")
    if name == "vae":
        words = {}
    return ModelSource(where=folder, components=found, tokenizers=words)


def _names_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def _lone_component(folder: Path, name: str, half: bool) -> Component:
    component = _folder_component(folder, half)
    whole = name == "text_encoder" and component.config.get("model_type") == "clip"
    if not whole:
        return component
    config = component.config.get("text_config") or {}

    def read() -> dict[str, Tensor]:
        state: dict[str, Tensor] = {}
        for file in find_weights(folder, half=half):
            state |= file.read(_clip_text(file, "").values())
        return state

    return Component(
        config={**config, "model_type": "clip_text_model"}, read=read, where=str(folder)
    )
