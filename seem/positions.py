"""Sine position embeddings: what tells attention where on a map a token lies.

Axes: H, W rows and columns of the map, C channels of the embedding.

    y_i = 2 pi (i + 1) / (H + 1e-6),  t_j = 10000^(2 floor(j / 2) / (C / 2))
    channel j < C / 2 is sin(y_i / t_j) for even j and cos(y_i / t_j) for odd j

and the other half of the channels is the same of x (Carion et al., "End-to-End Object Detection
with Transformers", arXiv 2005.12872, appendix A.4). Places are relative to the map's size.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["sine_positions"]

TEMPERATURE = 10000.0  # arXiv 1706.03762, section 3.5
SIZE_EPSILON = 1e-6  # DETR, PositionEmbeddingSine


def sine_positions(
    height: int,
    width: int,
    channels: int,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "C H W"]:
    """Position embeddings of every pixel of a map.

    Args:
        height: Rows of the map.
        width: Columns of the map.
        channels: A multiple of 4: sines and cosines of two coordinates.
        device: Where to put them.
        dtype: Type of the result (float32 by default); computed in float32 whatever it is.

    Raises:
        ValueError: `channels` is no multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"sine positions need a multiple of 4 channels, got {channels}")
    rows = _waves(height, channels // 2, device)
    columns = _waves(width, channels // 2, device)
    both = torch.cat(
        [
            rows[:, :, None].expand(-1, -1, width),
            columns[:, None, :].expand(-1, height, -1),
        ]
    )
    return both.to(dtype or torch.float32)


def _waves(
    size: int, channels: int, device: torch.device | str | None
) -> Float[Tensor, "channels size"]:
    """Sines (even channels) and cosines (odd) of one coordinate."""
    places = torch.arange(1, size + 1, dtype=torch.float32, device=device)
    places = places / (size + SIZE_EPSILON) * (2 * math.pi)
    pairs = torch.arange(channels // 2, dtype=torch.float32, device=device)
    angles = places[None] / (TEMPERATURE ** (2 * pairs / channels))[:, None]
    return torch.stack([angles.sin(), angles.cos()], dim=1).flatten(0, 1)
