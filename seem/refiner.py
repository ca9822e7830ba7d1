"""A mask refiner: what is drawn, what it looks like, and the picture's own edges make a sharp mask.

Axes: B images, P prompts (one object each), M masks of a prompt, H W the padded image, h w the mask
map (stride 4), C channels.

SEEM's queries see a drawing as a few tokens. The refiner also sees it where it lies
(`seem.mark_planes`), beside how much each place looks like what was marked, and is an encoder and
decoder in the form of a U-Net (Ronneberger et al., arXiv 1505.04597) over the pixel decoder's maps,
with attention at strides 16 and 32, so that a mark spreads over what looks alike. It begins with
the masks of the object's queries and answers with as many masks at stride 2: the first is the best
guess, the others compete for what an ambiguous prompt may mean, as SAM's (Kirillov et al., arXiv
2304.02643, section 3), each with an estimate of its IoU.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from seem.mark_planes import PLANES, MarkPlanes
from seem.pixel_decoder import PixelFeatures

__all__ = [
    "MaskRefiner",
    "Prototypes",
    "RefinedMasks",
    "RefinerConfig",
    "RefinerMemory",
    "likeness",
]

LIKENESS = 3  # planes a level: like the positive examples, like the negative ones, more like which
SOFT = 4.0  # logits of the queries' masks are squashed beyond this
COMPARED = (4, 8, 16)  # strides at which looks are compared
TOLD_APART = 2  # of them, at which different things look different

Prototypes = tuple[Tensor, ...]
"""For each of three strides the looks of positive and of negative examples, each [P, 2, E]."""


@dataclass(frozen=True, kw_only=True)
class RefinerConfig:
    """The size of a refiner.

    Attributes:
        widths: Channels at strides 4, 8, 16 and 32, multiples of the heads.
        edges: Channels of the picture's own edges at stride 2.
        looks: Channels of the vectors that are compared.
        heads: Attention heads.
    """

    widths: tuple[int, int, int, int] = (32, 48, 96, 128)
    edges: int = 8
    looks: int = 24
    heads: int = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class RefinerMemory:
    """What the refiner needs of images, computed once.

    Attributes:
        edges: At stride 2, [B, edges, H/2, W/2].
        maps: At strides 4, 8, 16 and 32, [B, C, H/s, W/s].
        looks: Unit vectors at strides 4, 8 and 16, [B, E, H/s, W/s].
    """

    edges: Float[Tensor, "B C H2 W2"]
    maps: tuple[Tensor, ...]
    looks: tuple[Tensor, ...]

    def select(self, index: Tensor) -> "RefinerMemory":
        """The memory of some of the images; an image may occur repeatedly."""
        return RefinerMemory(
            edges=self.edges[index],
            maps=tuple(level[index] for level in self.maps),
            looks=tuple(level[index] for level in self.looks),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class RefinedMasks:
    """The refiner's answers.

    Attributes:
        logits: At stride 2, [P, M, 2h, 2w].
        coarse: The same at stride 4, before edges, [P, M, h, w].
        quality: Logits of each mask's IoU, [P, M].
    """

    logits: Float[Tensor, "P M H2 W2"]
    coarse: Float[Tensor, "P M h w"]
    quality: Float[Tensor, "P M"]


class MaskRefiner(nn.Module):
    """The refiner, for the pixel decoder's width and a number of masks."""

    def __init__(self, config: RefinerConfig, *, dim: int, masks: int) -> None:
        """Build it.

        Args:
            config: Its size.
            dim: Channels of the pixel decoder's maps.
            masks: Queries of an object, and masks of an answer.
        """
        super().__init__()
        self.config = config
        c4, c8, c16, c32 = config.widths
        self.fine = _Conv(3, 2 * config.edges, 3, stride=2)
        self.finer = _Conv(2 * config.edges, c4, 3, stride=2)
        self.edges = nn.Conv2d(2 * config.edges, config.edges, 1)
        self.enter_4 = _Conv(dim + c4, c4, 3)
        self.enter = nn.ModuleList(_Conv(dim, width, 1) for width in config.widths[1:])
        pairs = ((c4, c8), (c8, c16), (c16, c32))
        self.looks = nn.ModuleList(nn.Conv2d(a + b, config.looks, 1) for a, b in pairs)
        self.sharpness = nn.Parameter(torch.zeros(len(COMPARED)))
        self.down_4 = nn.Sequential(_Conv(PLANES + masks + LIKENESS + c4, c4, 1), _Block(c4))
        self.steps = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairs)
        self.down_8 = nn.Sequential(_Conv(2 * c8 + LIKENESS, c8, 1), _Block(c8))
        self.down_16 = nn.Sequential(
            _Conv(2 * c16 + LIKENESS, c16, 1),
            *(part for _ in range(2) for part in (_Attention(c16, config.heads), _Block(c16))),
        )
        self.down_32 = nn.Sequential(
            _Conv(2 * c32, c32, 1), _Attention(c32, config.heads), _Block(c32)
        )
        self.up = nn.ModuleList(_Join(a, b) for a, b in pairs)
        self.coarse = nn.Conv2d(c4, masks, 1)
        self.soften = nn.Conv2d(c4, config.edges, 1)
        self.sharpen = nn.Conv2d(config.edges, config.edges, 3, 1, 1)
        self.sharp = nn.Conv2d(config.edges, masks, 3, 1, 1)
        self.quality = nn.Sequential(nn.Linear(c32, 64), nn.SiLU(), nn.Linear(64, masks))

    def remember(self, pixels: Float[Tensor, "B 3 H W"], features: PixelFeatures) -> RefinerMemory:
        """Compute all that depends on the images alone."""
        fine = self.fine(pixels)
        x4 = self.enter_4(torch.cat([features.mask_features, self.finer(fine)], dim=1))
        coarser = reversed(features.multi_scale)
        maps = [x4, *(enter(x) for enter, x in zip(self.enter, coarser, strict=True))]
        looks = [
            F.normalize(look(torch.cat([here, _resize(below, here)], dim=1)), dim=1)
            for look, here, below in zip(self.looks, maps[:-1], maps[1:], strict=True)
        ]
        return RefinerMemory(edges=self.edges(fine), maps=tuple(maps), looks=tuple(looks))

    def read_looks(self, memory: RefinerMemory, marks: MarkPlanes) -> Prototypes:
        """What the examples that were marked look like."""
        found = []
        for stride, looks in zip(COMPARED, memory.looks, strict=True):
            weights = torch.cat([marks.positive, marks.negative], dim=1)
            if stride > COMPARED[0]:
                weights = F.avg_pool2d(weights, stride // COMPARED[0])
            sums = weights.flatten(2).to(looks.dtype) @ looks.flatten(2).mT
            found.append(
                F.normalize(sums + 1e-6, dim=-1) * (weights.flatten(2).sum(2) > 0)[..., None]
            )
        return tuple(found)

    def forward(
        self,
        memory: RefinerMemory,
        marks: MarkPlanes,
        masks: Float[Tensor, "P M h w"],
        prototypes: Prototypes | None = None,
    ) -> RefinedMasks:
        """Refine the masks of some prompts.

        Args:
            memory: One image for each prompt.
            marks: What is drawn.
            masks: Logits of the object's queries.
            prototypes: What the object looks like, read elsewhere; None: as what is marked here.
        """
        if prototypes is None:
            prototypes = self.read_looks(memory, marks)
        like = [
            self._likeness(looks, looks_of, sharpness)
            for looks, looks_of, sharpness in zip(
                memory.looks, prototypes, self.sharpness, strict=True
            )
        ]
        x4, x8, x16, x32 = memory.maps
        first = [marks.planes.to(x4.dtype), torch.tanh(masks / SOFT).to(x4.dtype), like[0], x4]
        y4 = self.down_4(torch.cat(first, dim=1))
        y8 = self.down_8(torch.cat([self.steps[0](y4), x8, like[1]], dim=1))
        y16 = self.down_16(torch.cat([self.steps[1](y8), x16, like[2]], dim=1))
        y32 = self.down_32(torch.cat([self.steps[2](y16), x32], dim=1))
        z4 = self.up[0](y4, self.up[1](y8, self.up[2](y16, y32)))
        coarse = self.coarse(z4)
        sharp = F.silu(_resize(self.soften(z4), memory.edges) + memory.edges)
        sharp = self.sharp(F.silu(self.sharpen(sharp)))
        return RefinedMasks(
            logits=_resize(coarse, memory.edges) + sharp,
            coarse=coarse,
            quality=self.quality(y32.mean((2, 3))),
        )

    def _likeness(self, looks: Tensor, prototypes: Tensor, sharpness: Tensor) -> Tensor:
        """Cosines with the positive and the negative examples, and which is larger."""
        cosines = (prototypes.to(looks.dtype) @ looks.flatten(2)).unflatten(2, looks.shape[-2:])
        more = torch.tanh((cosines[:, :1] - cosines[:, 1:]) * sharpness.exp())
        return torch.cat([cosines, more.to(cosines.dtype)], dim=1)


def likeness(seen: Prototypes, known: Prototypes) -> float:
    """The mean cosine of what two examples, one prompt each, look like.

    At the two finest strides: at the coarsest most things are alike.
    """
    pairs = list(zip(seen, known, strict=True))[:TOLD_APART]
    cosines = [F.cosine_similarity(a[:, 0], b[:, 0]).mean().item() for a, b in pairs]
    return sum(cosines) / len(cosines)


class _Norm(nn.LayerNorm):
    """Layer norm over the channels of each place, of maps [B, C, h, w]."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (nn.LayerNorm's own name)
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Conv(nn.Sequential):
    """A convolution without bias, a norm, SiLU."""

    def __init__(self, incoming: int, outgoing: int, size: int, *, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(incoming, outgoing, size, stride, size // 2, bias=False),
            _Norm(outgoing),
            nn.SiLU(),
        )


class _Block(nn.Module):
    """A depthwise convolution and a pointwise bottleneck, as ConvNeXt's (arXiv 2201.03545)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 3, 1, 1, groups=width)
        self.norm = _Norm(width)
        self.widen = nn.Conv2d(width, 2 * width, 1)
        self.narrow = nn.Conv2d(2 * width, width, 1)

    def forward(self, state: Tensor) -> Tensor:
        return state + self.narrow(F.silu(self.widen(self.norm(self.around(state)))))


class _Join(nn.Module):
    """A map of `width` channels, and the coarser one of `below` channels under it."""

    def __init__(self, width: int, below: int) -> None:
        super().__init__()
        self.here = nn.Conv2d(width, width, 1)
        self.below = nn.Conv2d(below, width, 1, bias=False)
        self.norm = _Norm(width)
        self.block = _Block(width)

    def forward(self, here: Tensor, below: Tensor) -> Tensor:
        joined = self.here(here) + _resize(self.below(below), here)
        return self.block(F.silu(self.norm(joined)))


class _Attention(nn.Module):
    """Places look at one another."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = _Norm(width)
        self.project = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, state: Tensor) -> Tensor:
        rows = self.project(self.norm(state)).flatten(2).unflatten(1, (3, self.heads, -1))
        query, key, value = rows.transpose(-1, -2).unbind(1)
        # written out: for a few hundred places twice as fast on a CPU as the fused kernel, and back
        found = (query * query.shape[-1] ** -0.5 @ key.mT).softmax(-1) @ value
        return state + self.out(found.transpose(-1, -2).reshape(state.shape))


def _resize(level: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(level, size=like.shape[-2:], mode="bilinear")
