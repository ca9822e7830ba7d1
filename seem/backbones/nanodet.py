"""NanoDet-g, a small COCO detector, as a backbone: a CSP network, and the detector's own head.

Axes: B batch, H W the padded image, h w a map, K classes, C channels.

The network is upstream's `nanodet-g.yml` (https://github.com/RangiLyu/nanodet, Apache-2.0): a
cross-stage-partial backbone (Wang et al., "CSPNet", arXiv 1911.11929), a path-aggregation neck
without convolutions (Liu et al., arXiv 1803.01534), and a head that predicts classes and, for each
side of a box, a distribution over distances (Li et al., "Generalized Focal Loss", arXiv
2006.04388). Batch norms are folded into the convolutions. Its maps of strides 4 to 32 are res2 to
res5; `detector_maps` and `decode_boxes` give what it was trained for. It is meant to stay frozen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["NanoDet", "NanoDetConfig", "decode_boxes"]

SLOPE = 0.1  # of the leaky ReLU
BINS = 11  # of a side's distribution: 0 to 10 strides
SIDES = 4
STRIDES = (8, 16, 32)  # of the head's maps


@dataclass(frozen=True, kw_only=True)
class NanoDetConfig:
    """The size of a NanoDet.

    Attributes:
        stem: Channels at stride 2; the maps of strides 4, 8, 16 and 32 have 2, 4, 8 and 16 times as
            many.
        blocks: Residual blocks of the four stages.
        neck: Channels of the neck and the head.
        classes: Classes of the head.
    """

    stem: int = 32
    blocks: tuple[int, int, int, int] = (1, 2, 2, 3)
    neck: int = 128
    classes: int = 80


class NanoDet(nn.Module):
    """The backbone and the detector on it."""

    size_divisibility = 32

    def __init__(self, config: NanoDetConfig) -> None:
        """Build it with fresh parameters."""
        super().__init__()
        self.config = config
        width = config.stem
        self.stem = _Conv(3, width, 3, 2)
        self.stages = nn.ModuleList(
            _Stage(width * 2**i, blocks, stride=1 if i == 0 else 2)
            for i, blocks in enumerate(config.blocks)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(c, config.neck, 1) for c in self.channels[1:])
        answers = config.classes + SIDES * BINS
        self.heads = nn.ModuleList(
            nn.Sequential(_Conv(config.neck, config.neck, 3), nn.Conv2d(config.neck, answers, 1))
            for _ in STRIDES
        )

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of res2, res3, res4 and res5."""
        width = self.config.stem
        return 2 * width, 4 * width, 8 * width, 16 * width

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The maps res2 to res5, [B, channels, H/stride, W/stride], of normalised RGB."""
        state = F.max_pool2d(self.stem(pixels), 3, 2, 1)
        maps = []
        for stage in self.stages:
            state = stage(state)
            maps.append(state)
        return maps[0], maps[1], maps[2], maps[3]

    def detector_maps(
        self, res3: Tensor, res4: Tensor, res5: Tensor
    ) -> list[Float[Tensor, "B KS h w"]]:
        """Class logits, then the sides' bins, of every cell of strides 8, 16 and 32."""
        fine, middle, coarse = (
            lateral(level) for lateral, level in zip(self.laterals, (res3, res4, res5), strict=True)
        )
        middle = middle + _resize(coarse, middle)
        fine = fine + _resize(middle, fine)
        middle = middle + _resize(fine, middle)
        coarse = coarse + _resize(middle, coarse)
        return [head(level) for head, level in zip(self.heads, (fine, middle, coarse), strict=True)]


def decode_boxes(
    maps: Sequence[Float[Tensor, "KS h w"]], classes: int
) -> tuple[Float[Tensor, "N 4"], Float[Tensor, "N K"]]:
    """Every cell's box, xyxy in pixels of the padded image, and its classes' probabilities.

    Args:
        maps: The head's maps of one image, of strides 8, 16 and 32.
        classes: How many of their channels are class logits.
    """
    boxes, scores = [], []
    for level, stride in zip(maps, STRIDES, strict=True):
        high, wide = level.shape[-2:]
        y, x = torch.meshgrid(
            torch.arange(high, device=level.device),
            torch.arange(wide, device=level.device),
            indexing="ij",
        )
        centre = torch.stack([x, y], dim=-1).flatten(0, 1) + 0.5
        bins = level[classes:].unflatten(0, (SIDES, BINS)).softmax(1)
        reach = torch.einsum("sbhw,b->hws", bins, torch.arange(BINS).to(bins)).flatten(0, 1)
        corners = torch.cat([centre - reach[:, :2], centre + reach[:, 2:]], dim=1)
        boxes.append(stride * corners)
        scores.append(level[:classes].sigmoid().flatten(1).T)
    return torch.cat(boxes), torch.cat(scores)


class _Conv(nn.Conv2d):
    """A convolution that keeps the size (or halves it), and a leaky ReLU."""

    def __init__(self, incoming: int, outgoing: int, size: int, stride: int = 1) -> None:
        super().__init__(incoming, outgoing, size, stride, size // 2)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (nn.Conv2d's own name)
        return F.leaky_relu(super().forward(input), SLOPE)


class _Block(nn.Module):
    """Two convolutions; what both give is the block's result."""

    def __init__(self, incoming: int, width: int) -> None:
        super().__init__()
        self.first = _Conv(incoming, width, 3)
        self.second = _Conv(width, width, 3)

    def forward(self, state: Tensor) -> Tensor:
        first = self.first(state)
        return torch.cat([self.second(first), first], dim=1)


class _Stage(nn.Module):
    """A cross-stage-partial stage: half of the result passes by the blocks.

    `width` channels come in, twice as many go out.
    """

    def __init__(self, width: int, blocks: int, *, stride: int) -> None:
        super().__init__()
        self.enter = _Conv(width, width, 3, stride)
        half = width // 2
        self.blocks = nn.Sequential(*(_Block(width, half) for _ in range(blocks)))
        self.leave = _Conv(width, width, 3)

    def forward(self, state: Tensor) -> Tensor:
        entered = self.enter(state)
        return torch.cat([self.leave(self.blocks(entered)), entered], dim=1)


def _resize(level: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(level, size=like.shape[-2:], mode="bilinear")
