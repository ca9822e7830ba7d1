"""Sine position embeddings: what tells attention where on a map a token lies.

Axes: H, W rows and columns of the map, N places, C channels of the embedding.

    y_i = 2 pi (i + 1) / (H + 1e-6),  t_j = 10000^(2 floor(j / 2) / (C / 2))
    channel j < C / 2 is sin(y_i / t_j) for even j and cos(y_i / t_j) for odd j

and the other half of the channels is the same of x (Carion et al., "End-to-End Object Detection
with Transformers", arXiv 2005.12872, appendix A.4). Places are relative to the map's size.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["sine_positions", "sine_positions_at"]

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
    rows, columns = (
        _waves(torch.arange(1, n + 1, device=device) / (n + SIZE_EPSILON), channels // 2)
        for n in (height, width)
    )
    both = torch.cat(
        [
            rows[:, :, None].expand(-1, -1, width),
            columns[:, None, :].expand(-1, height, -1),
        ]
    )
    return both.to(dtype or torch.float32)


def sine_positions_at(places: Float[Tensor, "N 2"], channels: int) -> Float[Tensor, "N C"]:
    """Position embeddings of some places of a picture.

    Args:
        places: (y, x) as fractions of its height and width.
        channels: A multiple of 4.
    """
    return torch.cat([_waves(places[:, axis], channels // 2) for axis in (0, 1)]).T


def _waves(places: Float[Tensor, " size"], channels: int) -> Float[Tensor, "channels size"]:
    """Sines (even channels) and cosines (odd) of one coordinate, 0 to 1."""
    pairs = torch.arange(channels // 2, dtype=torch.float32, device=places.device)
    angles = (places * (2 * math.pi))[None] / (TEMPERATURE ** (2 * pairs / channels))[:, None]
    return torch.stack([angles.sin(), angles.cos()], dim=1).flatten(0, 1)
