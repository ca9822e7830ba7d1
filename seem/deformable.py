"""Deformable attention in plain PyTorch: every query looks at a few places that it chooses itself.

Axes: B batch, N queries (one for each pixel of all levels), D channels, H heads, L levels, P points
of a head and level, 2 = (x, y).

    out(q) = W_o concat_h sum_{l, p} A_hlp(q) * value_hl(place(q) + offset_hlp(q) / (W_l, H_l))

with A a softmax over the L * P points of a head, `value` read bilinearly and zero outside the map
(Zhu et al., "Deformable DETR", arXiv 2010.04159, equation 3). Reading is `grid_sample`: no
extension to compile, any device.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["DeformableAttention", "pixel_centres"]


class DeformableAttention(nn.Module):
    """Multi-scale deformable self-attention over the concatenated pixels of several maps."""

    def __init__(self, dim: int, heads: int, levels: int, points: int) -> None:
        """Build it; `heads` must divide `dim`."""
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads must divide the {dim} channels: change one of them")
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self._look_around()

    def forward(
        self,
        query: Float[Tensor, "B N D"],
        places: Float[Tensor, "N 2"],
        tokens: Float[Tensor, "B N D"],
        sizes: Sequence[tuple[int, int]],
    ) -> Float[Tensor, "B N D"]:
        """Update every pixel of every level.

        Args:
            query: What decides where to look and what to weigh: tokens plus their positions.
            places: Each query's own place, (x, y) in [0, 1], from `pixel_centres`.
            tokens: What is read: the pixels of all levels, level after level, row by row.
            sizes: (height, width) of each level; their areas add up to N.
        """
        split = (self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).unflatten(-1, (*split, 2))
        weights = self.attention_weights(query).unflatten(-1, (self.heads, -1))
        weights = weights.softmax(-1).unflatten(-1, split[1:])
        values = self.value_proj(tokens).split([high * wide for high, wide in sizes], dim=1)
        seen = torch.zeros_like(query.transpose(1, 2))
        for level, ((high, wide), value) in enumerate(zip(sizes, values, strict=True)):
            scale = offsets.new_tensor([wide, high])
            where = places[:, None, None] + offsets[:, :, :, level] / scale
            seen = seen + self._read(value, where, weights[:, :, :, level], (high, wide))
        return self.output_proj(seen.transpose(1, 2))

    def _read(
        self, value: Tensor, where: Tensor, weights: Tensor, size: tuple[int, int]
    ) -> Float[Tensor, "B D N"]:
        """Weighted sum of what one level holds at `where` [B, N, H, P, 2]."""
        batch = value.shape[0]
        maps = value.transpose(1, 2).reshape(batch * self.heads, -1, *size)
        grid = (2 * where - 1).transpose(1, 2).flatten(0, 1)
        samples = F.grid_sample(maps, grid, mode="bilinear", align_corners=False)
        shares = weights.transpose(1, 2).flatten(0, 1)[:, None]
        return (samples * shares).sum(-1).unflatten(0, (batch, -1)).flatten(1, 2)

    def _look_around(self) -> None:
        """Start with each head looking in its own direction, point p at p pixels' distance.

        The paper's initialisation (appendix A.4): without it all points would begin in one place.
        """
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)
        distances = torch.arange(1.0, self.points + 1)
        offsets = directions[:, None, None] * distances[:, None]
        offsets = offsets.expand(-1, self.levels, -1, -1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.flatten())
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


def pixel_centres(
    sizes: Sequence[tuple[int, int]],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "N 2"]:
    """Place of every pixel of every level, (x, y) in [0, 1], level after level, row by row."""
    levels = []
    for high, wide in sizes:
        y = (torch.arange(high, dtype=torch.float32, device=device) + 0.5) / high
        x = (torch.arange(wide, dtype=torch.float32, device=device) + 0.5) / wide
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        levels.append(torch.stack([columns, rows], dim=-1).flatten(0, 1))
    return torch.cat(levels).to(dtype or torch.float32)
