"""A small vision tower for LLaVA: a SEEM's FocalNet, up to its third stage, as transformers' own.

Both are the FocalNet of arXiv 2203.11926. Ours names its parts as the official checkpoints do and
its stem may pad by three pixels, which moves what it sees by one; training goes on from there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, FocalNetConfig

from grounding.clip_pixels import CLIP_MEAN, CLIP_STD
from grounding.errors import CheckpointError
from weights.keymap import name_some

__all__ = ["build_tower", "start_tower", "tower_config"]

SEEM_MEAN, SEEM_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # in [0, 255]
NEW_BLOCK = 0.1  # layer scale of blocks that the SEEM lacks: they begin as almost nothing
NAMES = (
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^patch_embed\.norm\.", "embeddings.norm."),
    (r"^layers\.(\d)\.blocks\.", r"encoder.stages.\1.layers."),
    (r"^layers\.(\d)\.downsample\.proj\.", r"encoder.stages.\1.downsample.projection."),
    (r"^layers\.(\d)\.downsample\.norm\.", r"encoder.stages.\1.downsample.norm."),
    (r"\.modulation\.f\.", ".modulation.projection_in."),
    (r"\.modulation\.h\.", ".modulation.projection_context."),
    (r"\.modulation\.proj\.", ".modulation.projection_out."),
    (r"^norm2\.", "layernorm."),
)
UNUSED = re.compile(r"^(norm[013]\.|layers\.3\.|layers\.2\.downsample\.)")


def tower_config(
    *, side: int = 128, width: int = 40, depths: tuple[int, ...] = (1, 2, 6)
) -> FocalNetConfig:
    """A FocalNet whose last stage has one place for each patch of 16 pixels.

    Args:
        side: Of its pictures, in pixels; a multiple of the patches' side.
        width: Channels of the first stage; they double from stage to stage.
        depths: Blocks of each stage.
    """
    stages = len(depths)
    # what LLaVA asks of a CLIP-like tower, beside what a FocalNet has
    asked: dict[str, Any] = {
        "hidden_size": width * 2 ** (stages - 1),
        "num_hidden_layers": stages,
    }
    return FocalNetConfig(
        image_size=side,
        patch_size=4 * 2 ** (stages - 1),
        embed_dim=width,
        hidden_sizes=[width * 2**stage for stage in range(stages)],
        depths=list(depths),
        focal_levels=[2] * stages,
        focal_windows=[3] * stages,
        use_conv_embed=True,
        use_layerscale=True,
        use_post_layernorm=True,
        normalize_modulator=True,
        drop_path_rate=0.0,
        **asked,
    )


def build_tower(config: FocalNetConfig, *, seed: int = 0) -> Any:
    """A tower with fresh parameters, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower: Any = AutoModel.from_config(config)
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if ".gamma_" in name:
                parameter.fill_(0.5)
    return tower


def start_tower(tower: Any, backbone: Mapping[str, Tensor]) -> None:
    """Let a tower start from a SEEM's FocalNet ("plain" blocks, two focal levels).

    Args:
        tower: Of `build_tower`; blocks that the FocalNet lacks begin as almost nothing.
        backbone: The FocalNet's parameters.

    Raises:
        CheckpointError: They are of another shape.
    """
    state = tower.state_dict()
    own = {}
    for key, tensor in backbone.items():
        if UNUSED.match(key):
            continue
        for pattern, name in NAMES:
            key = re.sub(pattern, name, key)
        own[key] = tensor.float()
    _renormalize(own)
    strange = [k for k, v in own.items() if k not in state or state[k].shape != v.shape]
    if strange:
        raise CheckpointError(f"no FocalNet that the tower can start from: {name_some(strange)}")
    for key in state.keys() - own.keys():
        if ".gamma_" in key:
            own[key] = torch.full_like(state[key], NEW_BLOCK)
    tower.load_state_dict(state | own)


def _renormalize(state: dict[str, Tensor]) -> None:
    """Make the stem, which was shown pixels normalised as SEEM does, read CLIP's."""
    weight = "embeddings.patch_embeddings.projection.weight"
    bias = "embeddings.patch_embeddings.projection.bias"
    if weight not in state or bias not in state:
        raise CheckpointError("no FocalNet that the tower can start from: it has no patch_embed")
    mean, std = (255 * torch.tensor(v) for v in (CLIP_MEAN, CLIP_STD))
    scale, shift = (
        std / torch.tensor(SEEM_STD),
        (mean - torch.tensor(SEEM_MEAN)) / torch.tensor(SEEM_STD),
    )
    state[bias] = state[bias] + (state[weight] * shift[:, None, None]).sum((1, 2, 3))
    state[weight] = state[weight] * scale[:, None, None]
