"""LoRA: low-rank changes to the linear layers of a UNet and of its text encoders.

    W x  ->  W x + weight * (alpha / rank) * B A x

(Hu et al., "LoRA", arXiv 2106.09685, section 4.1.) diffusers reads the layouts (its own, old and
new, and kohya's) and peft puts the layers in; what is done here is to see that nothing of a file
is left over.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from grounding.errors import CheckpointError, LavallamaError
from pipelines.generation.companions.weighted import Weighted
from weights.base import BaseModel
from weights.hub import fetch_files
from weights.keymap import name_some
from weights.tensor_file import TensorFile

__all__ = ["Lora", "attach_loras"]

UNET = "unet"
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
STANDARD_FILE = "pytorch_lora_weights.safetensors"  # what diffusers' trainers write
# A reads what a layer reads, B writes what it writes: the axis of that width, and its name.
SIDES = {"A.weight": (1, "in"), "B.weight": (0, "out")}


@dataclass(frozen=True, kw_only=True, eq=False)
class Lora:
    """One LoRA, read and known to fit.

    Attributes:
        asked: the file and its weight.
        state: its tensors, as diffusers' loaders take them.
        alphas: alpha of each layer, where the file holds any.
    """

    asked: Weighted
    state: dict[str, Tensor]
    alphas: dict[str, float] | None

    @classmethod
    def load(cls, asked: Weighted, base: BaseModel, *, offline: bool = False) -> Lora:
        """Read a LoRA for a base model.

        Args:
            asked: a file, a folder or hub id with one, and its weight.
            base: what it must fit.
            offline: never use the network.

        Raises:
            LavallamaError: peft is not installed.
            CheckpointError: not a LoRA, or one of another model; names the first keys.
            OfflineError: it must be downloaded and cannot be.
        """
        if importlib.util.find_spec("peft") is None:
            raise LavallamaError(
                f"{asked.name}: LoRA layers need peft, which is not installed: "
                "pip install 'lavallama[lora]'"
            )
        from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin

        file = TensorFile(_file_of(asked.name, offline))
        if any("dora_scale" in key for key in file.shapes):
            raise CheckpointError(f"{asked.name}: is a DoRA; only LoRA can be used")
        try:
            read: Any = StableDiffusionLoraLoaderMixin.lora_state_dict(
                file.read(), unet_config=base.unet.config
            )
            state, alphas = read
        except (ValueError, KeyError, AttributeError, RuntimeError, IndexError) as error:
            raise CheckpointError(
                f"{asked.name}: not a LoRA in diffusers' or kohya's layout "
                f"({name_some(file.shapes)})"
            ) from error
        _check(asked.name, state, base)
        return cls(asked=asked, state=state, alphas=alphas or None)


def attach_loras(loras: Sequence[Lora], base: BaseModel) -> None:
    """Put LoRAs into a base model; together they add up, each with its weight."""
    if not loras:
        return
    from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin as Loader

    names = [f"lora{place}" for place in range(len(loras))]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several: yes
        for name, lora in zip(names, loras, strict=True):
            options = {"adapter_name": name, "low_cpu_mem_usage": True}
            if _part(lora.state, UNET):
                Loader.load_lora_into_unet(lora.state, lora.alphas, base.unet, **options)
            for part in TEXT_ENCODERS:
                if _part(lora.state, part):
                    Loader.load_lora_into_text_encoder(
                        lora.state, lora.alphas, getattr(base, part), prefix=part, **options
                    )
    weights = {name: lora.asked.weight for name, lora in zip(names, loras, strict=True)}
    for part in (UNET, *TEXT_ENCODERS):
        model = getattr(base, part)
        if model is not None:
            _activate(model, weights)


def _activate(model: nn.Module, weights: Mapping[str, float]) -> None:
    """Let every LoRA in a model count with its weight; frozen, as the model is."""
    from peft.tuners.tuners_utils import (
        BaseTunerLayer,  # pyright: ignore[reportMissingImports]
    )

    layers: list[Any] = [part for part in model.modules() if isinstance(part, BaseTunerLayer)]
    for layer in layers:
        layer.set_adapter(list(weights))
        for name, weight in weights.items():
            layer.set_scale(name, weight)
    model.eval().requires_grad_(False)


def _check(source: str, state: Mapping[str, Tensor], base: BaseModel) -> None:
    """Refuse a LoRA of which anything has no place in the model."""
    known = {part: _part(state, part) for part in (UNET, *TEXT_ENCODERS)}
    homeless = [key for key in state if key.split(".")[0] not in known]
    if homeless or not state:
        raise CheckpointError(
            f"{source}: not a LoRA of a UNet or text encoder: {name_some(homeless) or 'empty'}"
        )
    odd: list[str] = []
    for part, tensors in known.items():
        model = getattr(base, part)
        odd += [
            f"{part}.{key}"
            for key, tensor in _as_peft(tensors, part).items()
            if model is None or not _fits(model, key, tensor)
        ]
    if odd:
        raise CheckpointError(
            f"{source}: this LoRA is for another model, it does not fit at {name_some(odd)}"
        )


def _as_peft(state: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The names that peft gives the same tensors."""
    from diffusers.utils import state_dict_utils as names

    if not state:
        return {}
    if part == UNET:
        return names.convert_unet_state_dict_to_peft(state)
    try:
        return names.convert_state_dict_to_peft(names.convert_state_dict_to_diffusers(state))
    except ValueError:  # of no layout that is known: fits nowhere
        return state


def _fits(model: nn.Module, key: str, tensor: Tensor) -> bool:
    """Whether a tensor of a LoRA has a layer in the model, of its width."""
    path, dot, end = key.rpartition(".lora_")
    if not dot or end not in SIDES:
        return False
    axis, side = SIDES[end]
    if not hasattr(model, "text_model"):  # transformers 5 dropped this level
        path = path.removeprefix("text_model.")
    try:
        layer: Any = model.get_submodule(path)
    except AttributeError:
        return False
    width = getattr(layer, f"{side}_features", None) or getattr(layer, f"{side}_channels", None)
    return width == tensor.shape[axis]


def _part(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors of one model, without its name."""
    head = f"{part}."
    return {key.removeprefix(head): tensor for key, tensor in state.items() if key.startswith(head)}


def _file_of(name: str, offline: bool) -> Path:
    """The file that is named, or the one in the folder or repository that is."""
    path = Path(name)
    if not path.exists():
        path = fetch_files(name, _choose, offline=offline)
    if not path.is_dir():
        return path
    chosen = _choose(sorted(one.name for one in path.iterdir() if one.is_file()))
    if not chosen:
        raise CheckpointError(
            f"{name}: expected one LoRA in it, such as {STANDARD_FILE}; name the file"
        )
    return path / chosen[0]


def _choose(files: Collection[str]) -> list[str]:
    """The file that diffusers writes, else the only one of weights that there is."""
    if STANDARD_FILE in files:
        return [STANDARD_FILE]
    weights = [file for file in files if file.endswith(".safetensors") and "/" not in file]
    return weights if len(weights) == 1 else []
