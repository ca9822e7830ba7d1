"""ControlNet: a copy of a UNet's encoder that reads a map and steers the UNet with what it sees.

(Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models", arXiv 2302.05543.)
Its outputs are added to the UNet's skip connections, on both halves of the guidance, beside
whatever the gates do. A T2I-Adapter (`t2i_adapter`) is loaded and given its map in the same way.
Axes: B images of the UNet's batch, H x W pixels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from gligen.sampler import Companion
from grounding.errors import CheckpointError
from pipelines.generation.companions.t2i_adapter import T2iAdapter
from pipelines.generation.maps import canny_edges
from pipelines.generation.source_picture import read_picture
from weights.base import BaseModel
from weights.choose import choose_part
from weights.components import read_config
from weights.controlnet import check_config, load_controlnet
from weights.hub import fetch_files
from weights.t2i_adapter import is_t2i_adapter
from weights.tensor_file import PICKLE_SUFFIXES, TensorFile

__all__ = ["Control", "ControlNet", "load_control", "read_control"]

CANNY = "canny:"  # before the name of a picture whose edges are the map


@dataclass(frozen=True, kw_only=True, eq=False)
class ControlNet:
    """A ControlNet that fits a base model.

    Attributes:
        name: path or hub id.
        model: diffusers' ControlNetModel, frozen.
    """

    name: str
    model: ControlNetModel

    @property
    def channels(self) -> int:
        """Of its map: 3, or 1 for grey."""
        return self.model.config["conditioning_channels"]

    def map_size(self, grid: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the map in pixels for latents of (height, width) cells."""
        cell = 2 ** (len(self.model.config["conditioning_embedding_out_channels"]) - 1)
        return grid[0] * cell, grid[1] * cell

    def at_work(self, maps: Tensor, weight: float) -> Companion:
        """It with the maps of a batch."""
        return Control(net=self, maps=maps, weight=weight)


def load_control(
    name: str,
    base: BaseModel,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    offline: bool = False,
) -> ControlNet | T2iAdapter:
    """Load a ControlNet, a control-LoRA or a T2I-Adapter, strictly.

    Args:
        name: a folder in diffusers' layout, a file in any, or a place on the hub.
        base: what it must fit.
        device: where it is to be.
        dtype: of its parameters.
        offline: never use the network.

    Raises:
        CheckpointError: none of them, damaged, or made for another kind of model.
        OfflineError: it must be downloaded and cannot be.
    """
    path = Path(name)
    if not path.exists():
        path = fetch_files(
            name, _choose, offline=offline, check=lambda folder: _check_config(name, folder, base)
        )
    if path.is_dir() and not (path / "config.json").is_file():
        chosen = _choose([one.name for one in sorted(path.iterdir()) if one.is_file()])
        if not chosen:
            raise CheckpointError(
                f"{name}: expected a ControlNet or T2I-Adapter in it: the config.json and weights "
                "of diffusers, or one file of weights"
            )
        path = path / chosen[0]
    if path.is_dir():
        kind = _check_config(name, path, base)
    else:
        kind = "T2IAdapter" if is_t2i_adapter(TensorFile(path).shapes) else "ControlNetModel"
    if kind == "T2IAdapter":
        return T2iAdapter.load(name, path, base, device=device, dtype=dtype)
    model = load_controlnet(name, path, base.unet, device=device, dtype=dtype)
    return ControlNet(name=name, model=model)


def _check_config(name: str, folder: Path, base: BaseModel) -> str:
    """Refuse by its config what does not fit, also before its weights are there; its class."""
    config = read_config(folder / "config.json")
    kind = config.get("_class_name")
    if kind not in ("ControlNetModel", "T2IAdapter"):
        raise CheckpointError(f"{name}: expected a ControlNetModel or T2IAdapter, got {kind}")
    if kind == "ControlNetModel":
        check_config(name, config, base.unet)
    return kind


@dataclass(frozen=True, kw_only=True, eq=False)
class Control:
    """One ControlNet at work on a batch (`gligen.sampler.Companion`).

    Attributes:
        net: the ControlNet.
        maps: [B', C, H, W] in [0, 1], one for each image; B is B' or, guided, twice that.
        weight: factor on what it adds.
    """

    net: ControlNet
    maps: Float[Tensor, "_ C H W"]
    weight: float

    def __call__(
        self, latents: Float[Tensor, "B C h w"], timestep: Tensor, call: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The UNet's inputs with this net's outputs added to its skip connections."""
        down, middle = self.net.model(
            latents,
            timestep,
            encoder_hidden_states=call["encoder_hidden_states"],
            controlnet_cond=self.maps.to(latents).repeat(len(latents) // len(self.maps), 1, 1, 1),
            conditioning_scale=self.weight,
            added_cond_kwargs=dict(call["added_cond_kwargs"]),
            return_dict=False,
        )
        others = call.get("down_block_additional_residuals")
        if others is not None:
            down = [one + other for one, other in zip(down, others, strict=True)]
            middle = middle + call["mid_block_additional_residual"]
        return {
            **call,
            "down_block_additional_residuals": down,
            "mid_block_additional_residual": middle,
        }


def read_control(
    name: str, net: ControlNet | T2iAdapter, grid: tuple[int, int]
) -> Float[Tensor, "1 C H W"]:
    """The map that a ControlNet or T2I-Adapter is to follow.

    Args:
        name: a picture file or data URI; or "canny:" and one, whose edges are taken.
        net: decides the size, and whether it is grey.
        grid: (height, width) of the latents, in cells.

    Raises:
        PromptError: the picture cannot be read.
    """
    height, width = net.map_size(grid)
    picture = read_picture(name.removeprefix(CANNY))
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    if name.startswith(CANNY):
        picture = Image.fromarray(canny_edges(picture))
    picture = picture.convert("L" if net.channels == 1 else "RGB")
    pixels = np.asarray(picture, dtype=np.float32).reshape(height, width, -1) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def _choose(files: Collection[str]) -> list[str]:
    """A model in diffusers' layout, else the only file of weights there is."""
    if "config.json" in files:
        return choose_part(files)
    for endings in ((".safetensors",), PICKLE_SUFFIXES):
        weights = [file for file in files if file.endswith(endings) and "/" not in file]
        if weights:
            return weights if len(weights) == 1 else []
    return []
