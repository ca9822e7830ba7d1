"""Deformable attention in plain PyTorch: every query looks at a few places that it chooses itself.

Axes: B batch, N queries (one for each pixel of all levels), D channels, H heads, L levels, P points
of a head and level, 2 = (x, y).

    out(q) = W_o concat_h sum_{l, p} A_hlp(q) * value_hl(place(q) + offset_hlp(q) / (W_l, H_l))

with A a softmax over the L * P points of a head, `value` read bilinearly and zero outside the map
(Zhu et al., "Deformable DETR", arXiv 2010.04159, equation 3). No extension to compile, any device:
reading is `grid_sample`, or on the CPU, in half the time, a weighted sum of rows of a table
of pixels (`embedding_bag`), four rows around each place.
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
        value = self.value_proj(tokens).unflatten(-1, (self.heads, -1))
        # Half precision cannot tell the pixels of a large map apart.
        exact = torch.promote_types(value.dtype, torch.float32)
        scales = places.new_tensor([[wide, high] for high, wide in sizes])
        where = places[:, None, None, None] + offsets.to(exact) / scales[:, None]
        read = read_rows if value.device.type == "cpu" else read_maps
        seen = read(value.to(exact), where.to(exact), weights.to(exact), sizes)
        return self.output_proj(seen.to(query.dtype).flatten(2))

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


def read_maps(
    value: Float[Tensor, "B N H E"],
    where: Float[Tensor, "B N H L P 2"],
    weights: Float[Tensor, "B N H L P"],
    sizes: Sequence[tuple[int, int]],
) -> Float[Tensor, "B N H E"]:
    """Weighted sums of what maps hold at places, one map after the other.

    Args:
        value: Pixels of all levels.
        where: Places, (x, y) in [0, 1]; outside all is zero.
        weights: Of the places.
        sizes: (height, width) of each level.
    """
    batch, _, heads, _ = value.shape
    seen = torch.zeros_like(value).permute(0, 2, 3, 1).flatten(0, 1)
    levels = value.split([high * wide for high, wide in sizes], dim=1)
    for level, (size, pixels) in enumerate(zip(sizes, levels, strict=True)):
        maps = pixels.permute(0, 2, 3, 1).reshape(batch * heads, -1, *size)
        grid = (2 * where[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
        samples = F.grid_sample(maps, grid, mode="bilinear", align_corners=False)
        shares = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)
        seen = seen + (samples * shares[:, None]).sum(-1)
    return seen.unflatten(0, (batch, heads)).permute(0, 3, 1, 2)


def read_rows(
    value: Float[Tensor, "B N H E"],
    where: Float[Tensor, "B N H L P 2"],
    weights: Float[Tensor, "B N H L P"],
    sizes: Sequence[tuple[int, int]],
) -> Float[Tensor, "B N H E"]:
    """As `read_maps`: each place is four rows of a table of pixels, with their shares."""
    batch, count, heads, _ = value.shape
    size = where.new_tensor([[wide, high] for high, wide in sizes])[:, None]
    starts = [sum(high * wide for high, wide in sizes[:level]) for level in range(len(sizes))]
    first = torch.tensor(starts, device=where.device)[:, None]
    width = size[..., 0].long()
    at = where * size - 0.5
    corner = at.floor()
    safe = corner.nan_to_num()  # a broken place is a broken result, not a row that does not exist
    share_right, share_down = (at - corner).unbind(-1)
    rows, shares = [], []
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        place = safe + safe.new_tensor([right, down])
        inside = ((place >= 0) & (place < size)).all(-1)
        column, row = place.clamp(min=0).minimum(size - 1).long().unbind(-1)
        rows.append(first + row * width + column)
        share_x = share_right if right else 1 - share_right
        share_y = share_down if down else 1 - share_down
        shares.append(weights * share_x * share_y * inside)
    image = torch.arange(batch, device=where.device)[:, None, None, None]
    head = torch.arange(heads, device=where.device)[:, None]
    index = (image * count + torch.stack(rows, -1).flatten(3)) * heads + head
    seen = F.embedding_bag(
        index.flatten(0, 2),
        value.reshape(batch * count * heads, -1),
        per_sample_weights=torch.stack(shares, -1).flatten(3).flatten(0, 2),
        mode="sum",
    )
    return seen.unflatten(0, (batch, count, heads))


def pixel_centres(
    sizes: Sequence[tuple[int, int]],
    *,
    device: torch.device | str | None = None,
) -> Float[Tensor, "N 2"]:
    """Place of every pixel of every level, (x, y) in [0, 1], level after level, row by row.

    In float32, whatever the model's type.
    """
    levels = []
    for high, wide in sizes:
        y = (torch.arange(high, dtype=torch.float32, device=device) + 0.5) / high
        x = (torch.arange(wide, dtype=torch.float32, device=device) + 0.5) / wide
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        levels.append(torch.stack([columns, rows], dim=-1).flatten(0, 1))
    return torch.cat(levels)
