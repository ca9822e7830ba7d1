"""ControlNet: a copy of a UNet's encoder that reads a map and steers the UNet with what it sees.

(Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models", arXiv 2302.05543.)
Its outputs are added to the UNet's skip connections, on both halves of the guidance, beside
whatever the gates do. Axes: B images of the UNet's batch, H x W pixels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import init_empty_weights
from diffusers.models.controlnets.controlnet import ControlNetModel
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from grounding.errors import CheckpointError
from pipelines.generation.maps import canny_edges
from pipelines.generation.source_picture import read_picture
from weights.base import BaseModel
from weights.components import fill, read_config, read_folder
from weights.hub import choose_part, fetch_files

__all__ = ["Control", "ControlNet", "read_control"]

CANNY = "canny:"  # before the name of a picture whose edges are the map
SHARED = ("cross_attention_dim", "block_out_channels", "layers_per_block")


@dataclass(frozen=True, kw_only=True, eq=False)
class ControlNet:
    """A ControlNet that fits a base model.

    Attributes:
        name: path or hub id.
        model: diffusers' ControlNetModel, frozen.
    """

    name: str
    model: ControlNetModel

    @classmethod
    def load(
        cls,
        name: str,
        base: BaseModel,
        *,
        device: torch.device | str,
        dtype: torch.dtype,
        offline: bool = False,
    ) -> ControlNet:
        """Load a ControlNet, strictly.

        Args:
            name: a folder in diffusers' layout, or a hub id.
            base: what it must fit.
            device: where it is to be.
            dtype: of its parameters.
            offline: never use the network.

        Raises:
            CheckpointError: not a ControlNet, damaged, or made for another kind of model.
            OfflineError: it must be downloaded and cannot be.
        """
        folder = Path(name)
        if not folder.exists():
            folder = fetch_files(name, choose_part, offline=offline)
        if not (folder / "config.json").is_file():
            raise CheckpointError(
                f"{name}: expected a folder with the config.json and the weights of a ControlNet "
                "in diffusers' layout"
            )
        config = read_config(folder / "config.json")
        if config.get("_class_name") != "ControlNetModel":
            raise CheckpointError(
                f"{name}: expected a ControlNetModel, got {config.get('_class_name')}"
            )
        with init_empty_weights(include_buffers=False):
            model = ControlNetModel.from_config(config)
        assert isinstance(model, ControlNetModel)
        for key in SHARED:
            theirs, ours = model.config[key], base.unet.config[key]
            if _plain(theirs) != _plain(ours):
                raise CheckpointError(
                    f"{name}: this ControlNet is for a UNet of {key} {theirs}, the model has "
                    f"{ours}; take one made for this model"
                )
        half = dtype != torch.float32
        state = read_folder(folder, half=half)
        return cls(name=name, model=fill(model, state, name, device=device, dtype=dtype))

    @property
    def cell(self) -> int:
        """Pixels of the map on one side of a latent cell."""
        return 2 ** (len(self.model.config["conditioning_embedding_out_channels"]) - 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Control:
    """One ControlNet at work on a batch (`gligen.sampler.Companion`).

    Attributes:
        net: the ControlNet.
        maps: [B', 3, H, W] in [0, 1], one for each image; B is B' or, guided, twice that.
        weight: factor on what it adds.
    """

    net: ControlNet
    maps: Float[Tensor, "_ 3 H W"]
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


def read_control(name: str, net: ControlNet, grid: tuple[int, int]) -> Float[Tensor, "1 3 H W"]:
    """The map that a ControlNet is to follow.

    Args:
        name: a picture file or data URI; or "canny:" and one, whose edges are taken.
        net: decides the size.
        grid: (height, width) of the latents, in cells.

    Raises:
        PromptError: the picture cannot be read.
    """
    height, width = (net.cell * side for side in grid)
    picture = read_picture(name.removeprefix(CANNY))
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    if name.startswith(CANNY):
        picture = Image.fromarray(canny_edges(picture)).convert("RGB")
    pixels = np.asarray(picture, dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
