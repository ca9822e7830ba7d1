"""Pixel decoders: from a backbone's four maps to mask features and three maps for the decoder.

Axes: B batch, C channels of all outputs, H, W the padded image, N tokens (pixels in row order).

Two kinds, one result. `FpnPixelDecoder` (Focal, DaViT): transformer layers on the coarsest map,
then a feature pyramid down to stride 4, as in MaskFormer (Cheng et al., arXiv 2107.06278, section
3.2, its transformer-encoder variant). `DeformablePixelDecoder` (SAM's ViT): deformable attention
over strides 32, 16 and 8 together, then one step of the pyramid (Mask2Former, arXiv 2112.01527,
section 3.2.2). Neither knows of prompts: run them once for an image.
Parameter names are the official ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from seem.deformable import DeformableAttention, pixel_centres
from seem.multihead import MultiheadAttention
from seem.positions import sine_positions

__all__ = ["DeformablePixelDecoder", "FpnPixelDecoder", "PixelFeatures"]

GROUPS = 32  # groups of all group norms (SEEM, NORM: "GN")
LEVELS = 3  # strides 32, 16, 8


@dataclass(frozen=True, kw_only=True)
class PixelFeatures:
    """What every prompt needs of an image.

    Attributes:
        mask_features: [B, C, H/4, W/4]; their products with embeddings of queries are mask logits.
        multi_scale: Maps that queries attend to: strides 32, 16, 8, each [B, C, H/s, W/s].
    """

    mask_features: Float[Tensor, "B C h w"]
    multi_scale: tuple[Tensor, Tensor, Tensor]


class FpnPixelDecoder(nn.Module):
    """Transformer layers on res5, then a feature pyramid over res4, res3 and res2."""

    def __init__(
        self,
        channels: tuple[int, int, int, int],
        *,
        dim: int = 512,
        heads: int = 8,
        depth: int = 6,
        hidden: int = 2048,
    ) -> None:
        """Build it.

        Args:
            channels: Channels of res2 to res5.
            dim: Channels of the results, a multiple of 32 (the groups of a group norm).
            heads: Of the transformer's attention.
            depth: Transformer layers.
            hidden: Channels inside the transformer's feed-forward layers.
        """
        super().__init__()
        self.dim = dim
        self.input_proj = nn.Conv2d(channels[3], dim, 1)
        self.transformer = _Transformer(
            [_EncoderLayer(MultiheadAttention(dim, heads), dim, hidden) for _ in range(depth)]
        )
        self.layer_4 = _NormedConv(dim, dim, 3)
        for step in (1, 2, 3):
            self.add_module(f"adapter_{step}", _NormedConv(channels[step - 1], dim, 1))
            self.add_module(f"layer_{step}", _NormedConv(dim, dim, 3))
        self.mask_features = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, res2: Tensor, res3: Tensor, res4: Tensor, res5: Tensor) -> PixelFeatures:
        """Decode a backbone's maps, [B, channels, H/s, W/s] of strides 4, 8, 16, 32."""
        coarse = self.input_proj(res5)
        high, wide = coarse.shape[-2:]
        positions = _flat_positions(high, wide, coarse)
        tokens = coarse.flatten(2).transpose(1, 2)
        for layer in self.transformer.encoder.layers:
            assert isinstance(layer, _EncoderLayer)
            place = tokens + positions
            update = layer.self_attn(place, place, tokens)
            tokens = layer(tokens, update)
        coarse = tokens.transpose(1, 2).unflatten(2, (high, wide))
        y = F.relu(self.layer_4(coarse))
        maps = [y]
        for step, finer in ((3, res4), (2, res3), (1, res2)):
            lateral = self.get_submodule(f"adapter_{step}")(finer)
            y = lateral + F.interpolate(y, size=lateral.shape[-2:], mode="nearest")
            y = F.relu(self.get_submodule(f"layer_{step}")(y))
            maps.append(y)
        return PixelFeatures(
            mask_features=self.mask_features(maps[3]), multi_scale=(maps[0], maps[1], maps[2])
        )


class DeformablePixelDecoder(nn.Module):
    """Deformable attention over res5, res4 and res3, then one step of a pyramid to res2."""

    def __init__(
        self,
        channels: tuple[int, int, int, int],
        *,
        dim: int = 512,
        heads: int = 8,
        depth: int = 6,
        hidden: int = 1024,
        points: int = 4,
    ) -> None:
        """Build it.

        Args:
            channels: Channels of res2 to res5.
            dim: Channels of the results, a multiple of 32 (the groups of a group norm).
            heads: Of the deformable attention.
            depth: Transformer layers.
            hidden: Channels inside the transformer's feed-forward layers.
            points: Places that a head looks at on each level.
        """
        super().__init__()
        self.dim = dim
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, dim, 1), nn.GroupNorm(GROUPS, dim))
            for width in (channels[3], channels[2], channels[1])
        )
        self.transformer = _LevelTransformer(
            [
                _EncoderLayer(DeformableAttention(dim, heads, LEVELS, points), dim, hidden)
                for _ in range(depth)
            ],
            dim,
        )
        self.adapter_1 = _NormedConv(channels[0], dim, 1)
        self.layer_1 = _NormedConv(dim, dim, 3)
        self.mask_features = nn.Conv2d(dim, dim, 1)

    def forward(self, res2: Tensor, res3: Tensor, res4: Tensor, res5: Tensor) -> PixelFeatures:
        """Decode a backbone's maps, [B, channels, H/s, W/s] of strides 4, 8, 16, 32."""
        maps = [
            project(level)
            for project, level in zip(self.input_proj, (res5, res4, res3), strict=True)
        ]
        sizes = [(level.shape[-2], level.shape[-1]) for level in maps]
        positions = torch.cat(
            [
                _flat_positions(*size, level) + embedding
                for size, level, embedding in zip(
                    sizes, maps, self.transformer.level_embed, strict=True
                )
            ]
        )
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)
        places = pixel_centres(sizes, device=tokens.device)
        for layer in self.transformer.encoder.layers:
            assert isinstance(layer, _EncoderLayer)
            update = layer.self_attn(tokens + positions, places, tokens, sizes)
            tokens = layer(tokens, update)
        coarse, middle, fine = (
            level.transpose(1, 2).unflatten(2, size)
            for level, size in zip(
                tokens.split([high * wide for high, wide in sizes], dim=1), sizes, strict=True
            )
        )
        lateral = self.adapter_1(res2)
        y = lateral + F.interpolate(fine, size=lateral.shape[-2:], mode="bilinear")
        y = F.relu(self.layer_1(y))
        return PixelFeatures(
            mask_features=self.mask_features(y), multi_scale=(coarse, middle, fine)
        )


class _NormedConv(nn.Conv2d):
    """A convolution without bias that keeps the size, and its group norm."""

    def __init__(self, incoming: int, outgoing: int, size: int) -> None:
        super().__init__(incoming, outgoing, size, padding=size // 2, bias=False)
        self.norm = nn.GroupNorm(GROUPS, outgoing)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (nn.Conv2d's own name)
        return self.norm(super().forward(input))


class _EncoderLayer(nn.Module):
    """What follows the attention of a post-norm transformer layer: norm, feed-forward, norm."""

    def __init__(self, attention: nn.Module, dim: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = attention
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(
        self, tokens: Float[Tensor, "B N C"], update: Float[Tensor, "B N C"]
    ) -> Float[Tensor, "B N C"]:
        """Take in what attention found."""
        tokens = self.norm1(tokens + update)
        return self.norm2(tokens + self.linear2(F.relu(self.linear1(tokens))))


class _Encoder(nn.Module):
    """A home for the layers under their official name."""

    def __init__(self, layers: Sequence[_EncoderLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class _Transformer(nn.Module):
    def __init__(self, layers: Sequence[_EncoderLayer]) -> None:
        super().__init__()
        self.encoder = _Encoder(layers)


class _LevelTransformer(_Transformer):
    """Layers, and one embedding for each level."""

    def __init__(self, layers: Sequence[_EncoderLayer], dim: int) -> None:
        super().__init__(layers)
        self.level_embed = nn.Parameter(torch.empty(LEVELS, dim))
        nn.init.normal_(self.level_embed)


def _flat_positions(height: int, width: int, like: Tensor) -> Float[Tensor, "N C"]:
    """Position embeddings of a map's pixels, row by row, for a map [B, C, H, W]."""
    positions = sine_positions(height, width, like.shape[1], device=like.device, dtype=like.dtype)
    return positions.flatten(1).T
