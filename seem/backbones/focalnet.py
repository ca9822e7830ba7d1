"""FocalNet: a hierarchy of convolutions whose attention is focal modulation.

Axes: B batch, H W a map, C channels, L focal levels.

    modulator(x) = h(1/(L+1) * sum over l of gate_l(x) * context_l(x))
    y = proj(q(x) * modulator(x))

where context_l is a stack of l+1 depthwise convolutions and the last one is a mean over the map
(Yang et al., "Focal Modulation Networks", arXiv 2203.11926, equations 4 to 6).
Maps inside are [B, H, W, C]; convolutions see them permuted, which is their channels-last form and
copies nothing. Parameter names are those of the official checkpoints.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from grounding.errors import LavallamaError
from seem.preprocess import check_padded

__all__ = ["FOCALNETS", "FocalNet", "FocalNetConfig"]

LAYER_SCALE = 1e-4  # what gamma starts from, FocalNet's layerscale_value
STRIDE = 32

BlockKind = Literal["depthwise", "plain"]
Map = Float[Tensor, "B H W C"]


@dataclass(frozen=True, kw_only=True)
class FocalNetConfig:
    """What a FocalNet is made of; by default SEEM's Focal-T.

    Attributes:
        dim: channels of res2; they double from stage to stage.
        depths: blocks of each stage.
        focal_levels: local contexts of a modulation, L.
        focal_window: kernel of the first one; each later kernel is larger by 2.
        mlp_ratio: hidden channels of a block's MLP over C.
        block: "depthwise" adds two depthwise convolutions and normalises after the residual sum;
            "plain" normalises the branches.
        stem_padding: padding of the 7x7 convolution of stride 4.
    """

    dim: int = 96
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    focal_levels: int = 3
    focal_window: int = 3
    mlp_ratio: int = 4
    block: BlockKind = "depthwise"
    stem_padding: Literal[2, 3] = 3

    def __post_init__(self) -> None:
        if self.block not in get_args(BlockKind) or self.stem_padding not in (2, 3):
            raise LavallamaError(
                f"a FocalNet needs block {' or '.join(get_args(BlockKind))} and stem_padding 2 or "
                f"3; got block {self.block!r}, stem_padding {self.stem_padding!r}"
            )
        if self.focal_window % 2 == 0:
            raise LavallamaError(
                f"focal_window must be odd, or maps would grow; got {self.focal_window}"
            )


FOCALNETS = {
    "focalt": FocalNetConfig(),
    "focall": FocalNetConfig(
        dim=192, depths=(2, 2, 18, 2), focal_levels=4, block="plain", stem_padding=2
    ),
}


class FocalNet(nn.Module):
    """Stem and four stages; each stage's result is normalised on its way out only."""

    def __init__(self, config: FocalNetConfig) -> None:
        super().__init__()
        dims = [config.dim * 2**stage for stage in range(4)]
        self.channels = (dims[0], dims[1], dims[2], dims[3])
        self.size_divisibility = STRIDE
        self.patch_embed = _Patches(3, dims[0], kernel=7, stride=4, padding=config.stem_padding)
        self.layers = nn.ModuleList(
            _Stage(dim, depth, config, last=stage == 3)
            for stage, (dim, depth) in enumerate(zip(dims, config.depths, strict=True))
        )
        for stage, dim in enumerate(dims):
            self.add_module(f"norm{stage}", nn.LayerNorm(dim))

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The maps res2 to res5, [B, C, H/stride, W/stride].

        Raises:
            LavallamaError: a side of the pixels is no multiple of 32.
        """
        check_padded(pixels, self.size_divisibility)
        x = self.patch_embed(pixels.permute(0, 2, 3, 1))
        maps = []
        for number, stage in enumerate(self.layers):
            assert isinstance(stage, _Stage)
            for block in stage.blocks:
                x = block(x)
            maps.append(self.get_submodule(f"norm{number}")(x).permute(0, 3, 1, 2).contiguous())
            x = x if stage.downsample is None else stage.downsample(x)
        res2, res3, res4, res5 = maps
        return res2, res3, res4, res5


class _Stage(nn.Module):
    """Blocks of one resolution, and the step to the next."""

    def __init__(self, dim: int, depth: int, config: FocalNetConfig, *, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(dim, config) for _ in range(depth))
        halved = None if last else _Patches(dim, 2 * dim, kernel=3, stride=2, padding=1)
        self.downsample = halved


class _Patches(nn.Module):
    """A strided convolution and LayerNorm over channels."""

    def __init__(self, dim: int, out_dim: int, *, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim, out_dim, kernel, stride, padding)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, x: Map) -> Map:
        return self.norm(_convolve(self.proj, x))


class _Block(nn.Module):
    """Modulation and MLP, both residual and scaled channel by channel."""

    def __init__(self, dim: int, config: FocalNetConfig) -> None:
        super().__init__()
        depthwise = config.block == "depthwise"
        self.dw1 = _depthwise(dim, 3, bias=True) if depthwise else None
        self.modulation = _Modulation(dim, config)
        self.norm1 = nn.LayerNorm(dim)
        self.gamma_1 = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.dw2 = _depthwise(dim, 3, bias=True) if depthwise else None
        self.mlp = _Mlp(dim, config.mlp_ratio * dim)
        self.norm2 = nn.LayerNorm(dim)
        self.gamma_2 = nn.Parameter(torch.full((dim,), LAYER_SCALE))

    def forward(self, x: Map) -> Map:
        if self.dw1 is None or self.dw2 is None:
            x = x + self.gamma_1 * self.norm1(self.modulation(x))
            return x + self.gamma_2 * self.norm2(self.mlp(x))
        x = x + _convolve(self.dw1, x)
        x = self.norm1(x + self.gamma_1 * self.modulation(x))
        x = x + _convolve(self.dw2, x)
        return self.norm2(x + self.gamma_2 * self.mlp(x))


class _Modulation(nn.Module):
    """Focal modulation: each place's query times a gated sum of ever wider contexts."""

    def __init__(self, dim: int, config: FocalNetConfig) -> None:
        super().__init__()
        levels = config.focal_levels
        self.splits = (dim, dim, levels + 1)
        self.f = nn.Linear(dim, sum(self.splits))
        self.h = nn.Conv2d(dim, dim, 1)
        self.proj = nn.Linear(dim, dim)
        self.focal_layers = nn.ModuleList(
            nn.Sequential(_depthwise(dim, config.focal_window + 2 * level, bias=False), nn.GELU())
            for level in range(levels)
        )

    def forward(self, x: Map) -> Map:
        query, context, gates = self.f(x).split(self.splits, dim=-1)
        context = context.permute(0, 3, 1, 2)
        gates = gates.permute(0, 3, 1, 2)
        total = 0
        for level, layer in enumerate(self.focal_layers):
            context = layer(context)
            total = total + context * gates[:, level : level + 1]
        everywhere = F.gelu(context.mean(dim=(2, 3), keepdim=True))
        total = total + everywhere * gates[:, -1:]
        modulator = self.h(total / gates.shape[1])
        return self.proj(query * modulator.permute(0, 2, 3, 1))


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Map) -> Map:
        return self.fc2(F.gelu(self.fc1(x)))


def _depthwise(dim: int, kernel: int, *, bias: bool) -> nn.Conv2d:
    """A convolution of each channel by itself that keeps the size."""
    return nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=bias)


def _convolve(layer: nn.Conv2d, x: Map) -> Map:
    return layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
