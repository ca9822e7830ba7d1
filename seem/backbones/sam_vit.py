"""SAM's vision transformer, with a simple feature pyramid in the place of its neck.

Axes: B batch, C channels, H W rows and columns of patches (or of a window), N their H*W places,
D channels of a head.

A plain transformer on 16x16 patches whose blocks attend in windows, but for four that attend
everywhere; scores carry decomposed relative positions (Li et al., "Exploring Plain Vision
Transformer Backbones for Object Detection", arXiv 2203.16527; "MViTv2", arXiv 2112.01526, equation
4; Kirillov et al., "Segment Anything", arXiv 2304.02643). The pyramid makes all four strides from
the last map alone (arXiv 2203.16527, section 3).
Parameter names are those of the official checkpoints.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from grounding.attention import attention
from grounding.errors import LavallamaError
from seem.preprocess import check_padded

__all__ = ["SAM_VITS", "SamViT", "SamViTConfig"]

PATCH = 16  # side of a patch in pixels: what makes the pyramid's strides 4, 8, 16 and 32
LAYER_NORM_EPS = 1e-6  # SAM, build_sam
EMBEDDING_STD = 0.02
MLP_RATIO = 4
QUERIES_AT_ONCE = 512  # the bias of all 4096 of a picture would take 800 MB, and twice the time

Map = Float[Tensor, "B H W C"]


@dataclass(frozen=True, kw_only=True)
class SamViTConfig:
    """What a SAM backbone is made of; by default SAM-B.

    Attributes:
        dim: channels C.
        depth: blocks.
        heads: attention heads of each block.
        global_blocks: which blocks attend everywhere.
        window: side of a window in patches, in the other blocks.
        image_size: side of the square input in pixels, fixed by the position embedding; a
            multiple of 32.
        channels: of res2 to res5.
    """

    dim: int = 768
    depth: int = 12
    heads: int = 12
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    window: int = 14
    image_size: int = 1024
    channels: tuple[int, int, int, int] = (128, 256, 512, 1024)

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.image_size % (2 * PATCH):
            raise LavallamaError(
                "a SAM backbone needs a dim that is a multiple of its heads and an image_size "
                f"that is one of {2 * PATCH}; got dim {self.dim}, heads {self.heads}, "
                f"image_size {self.image_size}"
            )


SAM_VITS = {
    "samvitb": SamViTConfig(),
    "samvitl": SamViTConfig(dim=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23)),
}


class SamViT(nn.Module):
    """Patches, transformer and pyramid."""

    def __init__(self, config: SamViTConfig) -> None:
        super().__init__()
        self.channels = config.channels
        self.size_divisibility = config.image_size
        side = config.image_size // PATCH
        self.patch_embed = _Patches(config.dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, config.dim))
        nn.init.trunc_normal_(self.pos_embed, std=EMBEDDING_STD)
        self.blocks = nn.ModuleList(
            _Block(config, window=0 if number in config.global_blocks else config.window)
            for number in range(config.depth)
        )
        self.neck = SimplePyramid(config.dim, config.channels)

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The maps res2 to res5, [B, C, side/stride, side/stride].

        Raises:
            LavallamaError: the pixels are not `image_size` on both sides.
        """
        side = self.size_divisibility
        check_padded(pixels, side)
        if tuple(pixels.shape[2:]) != (side, side):
            raise LavallamaError(
                f"this backbone takes images that fit into {side}x{side} pixels; after padding got "
                f"{pixels.shape[2]}x{pixels.shape[3]}: make the longer side {side} or less"
            )
        x = self.patch_embed(pixels) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))


class SimplePyramid(nn.Module):
    """Maps of strides 4, 8, 16 and 32, each from the same map of stride 16."""

    def __init__(self, dim: int, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        res2, res3, res4, res5 = channels
        quarter, eighth = max(2 * res2, dim // 2), max(res3, dim // 2)
        half, last = quarter // 2, max(res5, 2 * dim)
        self.down_4 = nn.Sequential(
            nn.ConvTranspose2d(dim, quarter, 2, 2),
            nn.GroupNorm(1, quarter),
            nn.GELU(),
            nn.ConvTranspose2d(quarter, half, 2, 2),
            nn.GroupNorm(1, half),
            *_output(half, res2),
        )
        self.down_8 = nn.Sequential(
            nn.ConvTranspose2d(dim, eighth, 2, 2), nn.GroupNorm(1, eighth), *_output(eighth, res3)
        )
        self.down_16 = nn.Sequential(*_output(dim, res4))
        self.down_32 = nn.Sequential(
            nn.Conv2d(dim, last, 2, 2), nn.GroupNorm(1, last), *_output(last, res5)
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.down_4(x), self.down_8(x), self.down_16(x), self.down_32(x)


def _output(dim: int, out_dim: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(dim, out_dim, 1), nn.GroupNorm(1, out_dim), nn.GELU()


class _Patches(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, PATCH)

    def forward(self, pixels: Float[Tensor, "B 3 height width"]) -> Map:
        return self.proj(pixels).permute(0, 2, 3, 1)


class _Block(nn.Module):
    """Pre-norm transformer block; window 0 attends everywhere."""

    def __init__(self, config: SamViTConfig, *, window: int) -> None:
        super().__init__()
        self.window = window
        side = window or config.image_size // PATCH
        self.norm1 = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPS)
        self.attn = _Attention(config.dim, config.heads, side)
        self.norm2 = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPS)
        self.mlp = _Mlp(config.dim, MLP_RATIO * config.dim)

    def forward(self, x: Map) -> Map:
        normed = self.norm1(x)
        x = x + (self._in_windows(normed) if self.window else self.attn(normed))
        return x + self.mlp(self.norm2(x))

    def _in_windows(self, x: Map) -> Map:
        """Attention inside windows; zeros fill the map on the right and bottom and take part."""
        batch, height, width, side = *x.shape[:3], self.window
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows = x.shape[1] // side
        x = rearrange(x, "B (H h) (W w) C -> (B H W) h w C", h=side, w=side)
        x = rearrange(self.attn(x), "(B H W) h w C -> B (H h) (W w) C", B=batch, H=rows)
        return x[:, :height, :width]


class _Attention(nn.Module):
    """Self-attention of a square map whose scores know how far apart two places are."""

    def __init__(self, dim: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, dim // heads))

    def forward(self, x: Map) -> Map:
        query, key, value = rearrange(
            self.qkv(x), "B H W (three heads D) -> three B heads (H W) D", three=3, heads=self.heads
        )
        rows, columns = self.position_scores(query)
        mixed = []
        for start in range(0, self.side**2, QUERIES_AT_ONCE):
            at = slice(start, start + QUERIES_AT_ONCE)
            bias = (rows[:, :, at, :, None] + columns[:, :, at, None, :]).flatten(3)
            mixed.append(attention(query[:, :, at], key, value, mask=bias))
        mixed = rearrange(
            torch.cat(mixed, dim=2), "B heads (H W) D -> B H W (heads D)", H=self.side
        )
        return self.proj(mixed)

    def position_scores(
        self, query: Float[Tensor, "B heads N D"]
    ) -> tuple[Float[Tensor, "B heads N H"], Float[Tensor, "B heads N W"]]:
        """What a query at (y, x) adds to its scores of row y' and of column x'.

        They are q . Rh[y - y' + H - 1] and q . Rw[x - x' + W - 1], of queries that are not scaled.
        """
        place = torch.arange(self.side, device=query.device)
        distance = place[:, None] - place[None, :] + self.side - 1
        grid = rearrange(query, "B heads (H W) D -> B heads H W D", H=self.side)
        rows = torch.einsum("bnyxd,ykd->bnyxk", grid, self.rel_pos_h[distance])
        columns = torch.einsum("bnyxd,xkd->bnyxk", grid, self.rel_pos_w[distance])
        return rows.flatten(2, 3), columns.flatten(2, 3)


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Map) -> Map:
        return self.lin2(F.gelu(self.lin1(x)))
