"""Grounding tokens of a map of the whole canvas: edges, depth, normals, classes.

The map, at a small size, goes through a ConvNeXt; each cell of what comes out, with a learned
vector for its place, becomes a token (arXiv 2301.07093, section 3.2, "spatially aligned
conditions"; sizes as in the released code).
Axes: B batch, M channels of the map, H x W its pixels, N tokens, C channels of a token.
Parameter names are those of the official `position_net`.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gligen.convnext import ConvNextTrunk
from gligen.tokenizers.mlp import token_mlp

__all__ = ["MapTokenizer"]

COLOURS = 3  # what the trunk reads
NULL_MAP = 8  # side of the map that stands where there is none; it is masked


class MapTokenizer(nn.Module):
    """h = MLP(ConvNeXt(map) + place); of an image without a map, MLP(null + place)."""

    def __init__(
        self,
        *,
        channels: int = COLOURS,
        out_dim: int = 768,
        hidden_dim: int = 512,
        dims: Sequence[int] = (96, 192, 384, 768),
        depths: Sequence[int] = (3, 3, 9, 3),
        tokens: int = 64,
    ) -> None:
        super().__init__()
        side = math.isqrt(tokens)
        assert side * side == tokens, "tokens lie on a square grid"
        self.channels, self.out_dim, self.tokens = channels, out_dim, tokens
        # A map of classes, one channel each, is folded into three colours first.
        self.in_conv = nn.Conv2d(channels, COLOURS, 3, padding=1) if channels != COLOURS else None
        self.convnext_tiny_backbone = ConvNextTrunk(dims, depths)
        self.side = side * self.convnext_tiny_backbone.stride  # 256 pixels
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, dims[-1]).normal_(std=0.02))
        self.linears = token_mlp(dims[-1], hidden_dim, out_dim)
        self.null_feature = nn.Parameter(torch.zeros(dims[-1]))

    def forward(
        self, maps: Float[Tensor, "B M H W"], masks: Float[Tensor, " B"]
    ) -> Float[Tensor, "B N C"]:
        """Tokens of a batch of maps.

        Args:
            maps: [B, channels, H, W], any size; see `pipelines.generation.maps` for the ranges.
            masks: [B], 1 or True where the image has a map.

        Returns:
            [B, tokens, out_dim] in the dtype of the parameters.
        """
        dtype = self.null_feature.dtype
        small = F.interpolate(maps.to(dtype), (self.side, self.side))  # nearest, as in training
        if self.in_conv is not None:
            small = self.in_conv(small)
        seen = self.convnext_tiny_backbone(small).flatten(2).transpose(1, 2)
        seen = torch.where(masks.bool().view(-1, 1, 1), seen, self.null_feature)
        return self.linears(seen + self.pos_embedding)

    def nothing(self, batch: int, count: int) -> tuple[Tensor, Tensor]:
        """What to call this with for images without a map: (maps, masks)."""
        like = self.null_feature
        assert count == self.tokens
        maps = like.new_zeros(batch, self.channels, NULL_MAP, NULL_MAP)
        return maps, like.new_zeros(batch)
