"""The trunk of ConvNeXt (Liu et al., arXiv 2201.03545), which turns maps into features.

Ours rather than a library's because a checkpoint names its parameters as the paper's code does;
`tests/gligen/test_convnext.py` compares it with the one of transformers.
Axes: B batch, H x W pixels, C channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["ConvNextTrunk"]

NORM_EPSILON = 1e-6  # ConvNeXt, LayerNorm
FIRST_STRIDE, NEXT_STRIDE = 4, 2
EXPANSION = 4
LAYER_SCALE = 1e-6  # ConvNeXt, layer_scale_init_value


class ConvNextTrunk(nn.Module):
    """Stages of blocks, each after a strided convolution; no norm and no head at the end."""

    def __init__(self, dims: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.stride = FIRST_STRIDE * NEXT_STRIDE ** (len(dims) - 1)
        stem = nn.Sequential(
            nn.Conv2d(3, dims[0], FIRST_STRIDE, stride=FIRST_STRIDE), _ChannelNorm(dims[0])
        )
        halvings = (
            nn.Sequential(_ChannelNorm(before), nn.Conv2d(before, after, NEXT_STRIDE, NEXT_STRIDE))
            for before, after in zip(dims[:-1], dims[1:], strict=True)
        )
        self.downsample_layers = nn.ModuleList([stem, *halvings])
        self.stages = nn.ModuleList(
            nn.Sequential(*(_Block(dim) for _ in range(depth)))
            for dim, depth in zip(dims, depths, strict=True)
        )

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C H/32 W/32"]:
        """Features of pictures whose sides are multiples of `stride`."""
        for shrink, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(shrink(x))
        return x


class _ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of [B, C, H, W]."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=NORM_EPSILON)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (nn.LayerNorm's own name)
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Block(nn.Module):
    """Depthwise 7x7, norm, and a network on each pixel; added, scaled channel by channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPSILON)
        self.pwconv1 = nn.Linear(dim, EXPANSION * dim)
        self.pwconv2 = nn.Linear(EXPANSION * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        pixels = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        pixels = self.gamma * self.pwconv2(F.gelu(self.pwconv1(pixels)))
        return x + pixels.permute(0, 3, 1, 2)
