"""DaViT: attention in windows of places, then attention among groups of channels.

Axes: B batch, H W a map, C channels, N the H*W places of a map.

A dual block is a spatial block (windows of 7x7 places) and a channel block (each channel is a token
as long as the picture), each with two depthwise convolutions and an MLP (Ding et al., "DaViT: Dual
Attention Vision Transformers", arXiv 2204.03645, equations 2 to 4). SEEM's form scales channel
attention by N^-1/2, so it is plain attention with places and channels exchanged.
Maps inside are [B, H, W, C]. Parameter names are those of the official checkpoints.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from grounding.attention import attention
from grounding.errors import LavallamaError
from seem.preprocess import check_padded

__all__ = ["DAVITS", "DaViT", "DaViTConfig"]

STRIDE = 32
FIRST_KERNEL, FIRST_PADDING = 7, 3
STRIDES = (4, 2, 2, 2)

Map = Float[Tensor, "B H W C"]


@dataclass(frozen=True, kw_only=True)
class DaViTConfig:
    """What a DaViT is made of; by default SEEM's DaViT-d3.

    Attributes:
        dims: channels of res2 to res5.
        heads: heads of the window attention of each stage, and groups of its channel attention.
        depths: dual blocks of each stage.
        patch_kernel: kernel of the convolutions between stages: 2 (no padding) or 3 (padding 1).
        window: side of a window, in places.
        mlp_ratio: hidden channels of an MLP over C.
    """

    dims: tuple[int, int, int, int] = (128, 256, 512, 1024)
    heads: tuple[int, int, int, int] = (4, 8, 16, 32)
    depths: tuple[int, int, int, int] = (1, 1, 9, 1)
    patch_kernel: int = 2
    window: int = 7
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        if any(dim % heads for dim, heads in zip(self.dims, self.heads, strict=True)):
            raise LavallamaError(
                f"a DaViT needs dims that are multiples of its heads, stage by stage; got dims "
                f"{self.dims}, heads {self.heads}"
            )
        if self.patch_kernel not in (2, 3):
            raise LavallamaError(
                f"patch_kernel must be 2 or 3, or the strides would not be 4 to 32; got "
                f"{self.patch_kernel}"
            )


DAVITS = {
    "davitd3": DaViTConfig(),
    "davitd5": DaViTConfig(dims=(256, 512, 1024, 2048), heads=(8, 16, 32, 64), patch_kernel=3),
}


class DaViT(nn.Module):
    """Four stages of dual blocks; the maps are the stages' results as they are."""

    def __init__(self, config: DaViTConfig) -> None:
        super().__init__()
        self.channels = config.dims
        self.size_divisibility = STRIDE
        self.convs = nn.ModuleList(
            _Patches(config, stage, 3 if stage == 0 else config.dims[stage - 1])
            for stage in range(4)
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(_dual_block(config, stage) for _ in range(config.depths[stage]))
            for stage in range(4)
        )

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The maps res2 to res5, [B, C, H/stride, W/stride].

        Raises:
            LavallamaError: a side of the pixels is no multiple of 32.
        """
        check_padded(pixels, self.size_divisibility)
        x, maps = pixels.permute(0, 2, 3, 1), []
        for patches, blocks in zip(self.convs, self.blocks, strict=True):
            x = patches(x)
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x = block(x)
            maps.append(x.permute(0, 3, 1, 2).contiguous())
        res2, res3, res4, res5 = maps
        return res2, res3, res4, res5


class _Patches(nn.Module):
    """A strided convolution; the first stage normalises its result, the others their input."""

    def __init__(self, config: DaViTConfig, stage: int, in_dim: int) -> None:
        super().__init__()
        self.first = stage == 0
        kernel = FIRST_KERNEL if self.first else config.patch_kernel
        padding = FIRST_PADDING if self.first else (config.patch_kernel - 1) // 2
        dim = config.dims[stage]
        self.proj = nn.Conv2d(in_dim, dim, kernel, STRIDES[stage], padding)
        self.norm = nn.LayerNorm(dim if self.first else in_dim)

    def forward(self, x: Map) -> Map:
        return (
            self.norm(_convolve(self.proj, x)) if self.first else _convolve(self.proj, self.norm(x))
        )


def _dual_block(config: DaViTConfig, stage: int) -> nn.Sequential:
    dim, heads = config.dims[stage], config.heads[stage]
    window = _WindowAttention(dim, heads, config.window)
    channel = _ChannelAttention(dim, heads)
    return nn.Sequential(
        OrderedDict(
            spatial_block=_half_block(dim, "window_attn", window, config),
            channel_block=_half_block(dim, "channel_attn", channel, config),
        )
    )


def _half_block(dim: int, name: str, mixer: nn.Module, config: DaViTConfig) -> nn.Sequential:
    layers: dict[str, nn.Module] = {
        "conv1": _DepthwiseResidual(dim),
        name: _NormedResidual(dim, mixer),
        "conv2": _DepthwiseResidual(dim),
        "ffn": _NormedResidual(dim, _Mlp(dim, config.mlp_ratio * dim)),
    }
    return nn.Sequential(OrderedDict(layers))


class _DepthwiseResidual(nn.Module):
    """x + depthwise 3x3 convolution of x: what tells places apart."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fn = nn.Sequential(OrderedDict(dw=nn.Conv2d(dim, dim, 3, padding=1, groups=dim)))

    def forward(self, x: Map) -> Map:
        return x + _convolve(self.fn, x)


class _NormedResidual(nn.Module):
    """x + branch(LayerNorm(x))."""

    def __init__(self, dim: int, branch: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = branch

    def forward(self, x: Map) -> Map:
        return x + self.fn(self.norm(x))


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        layers = {"fc1": nn.Linear(dim, hidden), "act": nn.GELU(), "fc2": nn.Linear(hidden, dim)}
        self.net = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Map) -> Map:
        return self.net(x)


class _WindowAttention(nn.Module):
    """Self-attention inside windows that do not overlap.

    The map is padded with zeros on the right and bottom; padded places take part (their keys and
    values are the projection's bias), as in the official code.
    """

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Map) -> Map:
        height, width, side = x.shape[1], x.shape[2], self.window
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        windows = {"h": side, "w": side}
        query, key, value = rearrange(
            self.qkv(x),
            "B (H h) (W w) (three heads D) -> three (B H W) heads (h w) D",
            three=3,
            heads=self.heads,
            **windows,
        )
        mixed = rearrange(
            attention(query, key, value),
            "(B H W) heads (h w) D -> B (H h) (W w) (heads D)",
            B=x.shape[0],
            H=x.shape[1] // side,
            **windows,
        )
        return self.proj(mixed[:, :height, :width])


class _ChannelAttention(nn.Module):
    """Self-attention among the channels of a group; a channel is a token of N numbers."""

    def __init__(self, dim: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Map) -> Map:
        query, key, value = rearrange(
            self.qkv(x), "B H W (three g c) -> three B g c (H W)", three=3, g=self.groups
        )
        # sdpa: a fused kernel for heads as wide as a picture does not exist
        mixed = attention(query, key, value, backend="sdpa")
        return self.proj(rearrange(mixed, "B g c (H W) -> B H W (g c)", H=x.shape[1]))


def _convolve(layer: nn.Module, x: Map) -> Map:
    return layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
