"""T2I-Adapter: a small network that reads a map once and adds what it sees to a UNet's encoder.

(Mou et al., "T2I-Adapter: Learning Adapters to Dig out More Controllable Ability for Text-to-Image
Diffusion Models", arXiv 2302.08453.) What it sees does not depend on the latents, so it is computed
once for all steps, and added to both halves of the guidance.
Axes: B images of the UNet's batch, H x W pixels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.adapter import T2IAdapter
from jaxtyping import Float
from torch import Tensor

from gligen.sampler import Companion
from grounding.errors import CheckpointError
from weights.base import BaseModel
from weights.families import name_base
from weights.t2i_adapter import load_t2i_adapter, widths_of

__all__ = ["Features", "T2iAdapter"]

LARGE = "full_adapter_xl"  # of SDXL, whose first features are those of its second level
RESIDUALS = "down_intrablock_additional_residuals"


@dataclass(frozen=True, kw_only=True, eq=False)
class T2iAdapter:
    """A T2I-Adapter that fits a base model.

    Attributes:
        name: path or hub id.
        model: diffusers' T2IAdapter, frozen.
    """

    name: str
    model: T2IAdapter

    @classmethod
    def load(
        cls,
        name: str,
        path: Path,
        base: BaseModel,
        *,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> T2iAdapter:
        """Load a T2I-Adapter, strictly.

        Args:
            name: what the user called it.
            path: its folder or file on this machine.
            base: what it must fit.
            device: where it is to be.
            dtype: of its parameters.

        Raises:
            CheckpointError: it is none, damaged, or made for another kind of model.
        """
        found = cls(name=name, model=load_t2i_adapter(name, path, device=device, dtype=dtype))
        config = base.unet.config
        widths = list(config["block_out_channels"])
        large = "CrossAttn" not in config["down_block_types"][0]
        if large:  # the last features are for the middle block
            widths.append(widths[-1])
        if widths_of(found.model) != widths or found.is_large != large:
            raise CheckpointError(
                f"{name}: this T2I-Adapter ({found.model.config['adapter_type']}, of "
                f"{widths_of(found.model)} channels) is for another model than "
                f"{name_base(config)}, which has {widths}; take one made for it"
            )
        return found

    @property
    def is_large(self) -> bool:
        """Whether it is one of SDXL's."""
        return self.model.config["adapter_type"] == LARGE

    @property
    def channels(self) -> int:
        """Of its map: 3, or 1 for grey."""
        return self.model.config["in_channels"]

    def map_size(self, grid: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the map in pixels for latents of (height, width) cells."""
        cell = self.model.downscale_factor
        if self.is_large:  # halves are rounded up, as the UNet does
            grid = (grid[0] + 1) // 2, (grid[1] + 1) // 2
        return grid[0] * cell, grid[1] * cell

    @torch.no_grad()
    def at_work(self, maps: Tensor, weight: float) -> Companion:
        """It with what it sees in the maps of a batch."""
        parameter = next(self.model.parameters())
        seen = self.model(maps.to(parameter))
        return Features(seen=tuple(weight * one for one in seen))


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """What a T2I-Adapter saw, at work on a batch (`gligen.sampler.Companion`).

    Attributes:
        seen: [B', C, h, w] of each level; B is B' or, guided, twice that.
    """

    seen: tuple[Tensor, ...]

    def __call__(
        self, latents: Float[Tensor, "B C h w"], timestep: Tensor, call: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The UNet's inputs with the features added to its encoder's."""
        ours = [one.to(latents).repeat(len(latents) // len(one), 1, 1, 1) for one in self.seen]
        others = call.get(RESIDUALS)
        if others is not None:
            ours = [one + other for one, other in zip(ours, others, strict=True)]
        return {**call, RESIDUALS: ours}
