"""Gated self-attention: how a frozen transformer block learns to look at regions.

Axes: B batch, N visual tokens, M grounding tokens, C channels of a block, D of a grounding token.

    o = Linear(grounding tokens)
    x = x + s * tanh(alpha_attn)  * SelfAttention(LayerNorm([x; o]))[visual tokens]
    x = x + s * tanh(alpha_dense) * FeedForward(LayerNorm(x))

(Li et al., "GLIGEN", arXiv 2301.07093, equation 8; the second line is the released code's.) Both
alphas are zero at first, which makes a new gate the identity; s is the sampler's scale.

Only visual tokens ask (their results are all that is kept), and LayerNorm and the projections see
one token at a time. So what grounding tokens contribute, their keys and values, does not depend on
x: `remember` computes it, once for a whole run of the sampler.
Parameter names are those of the official `fuser`.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gligen.box_field import cell_boxes
from gligen.fourier import fourier_embed, fourier_width
from grounding.attention import Backend, attention

__all__ = ["GatedSelfAttention", "GroundingMemory", "cell_features"]

FEED_FORWARD_EXPANSION = 4  # GLIGEN, FeedForward(mult=4, glu=True)


class GroundingMemory(NamedTuple):
    """What one gate needs of a layout, the same at every step.

    A tuple, since that is what every torch finds the tensors in to which `fully_shard` ties its
    hooks: older versions do not look into dataclasses.

    Attributes:
        key, value: Of the grounding tokens, each [B, M, heads * head_dim].
        place: What visual tokens are told of their places, [B or 1, N, C]; None: nothing.
        mask: Which of [visual; grounding] tokens each visual token may look at, [B, 1, N, N + M]
            (`gligen.isolation`); None: all.
    """

    key: Tensor
    value: Tensor
    place: Tensor | None = None
    mask: Tensor | None = None

    def placed(self, visual: Tensor) -> Tensor:
        """Visual tokens that know their places."""
        return visual if self.place is None else visual + self.place


class GatedSelfAttention(nn.Module):
    """The layer that GLIGEN adds to every transformer block, before its cross-attention.

    `position_features` adds one linear layer that tells visual tokens their place on the canvas,
    `field_dim` one that tells them their place in their boxes (`gligen.box_field`). A small UNet
    knows places only through the padding of its convolutions; boxes mean little to it without.
    Those features enter the gate alone: the residual stream stays as it is.
    """

    def __init__(
        self,
        *,
        query_dim: int,
        context_dim: int,
        heads: int,
        head_dim: int,
        position_features: bool = False,
        field_dim: int = 0,
    ) -> None:
        super().__init__()
        self.query_dim, self.context_dim = query_dim, context_dim
        self.linear = nn.Linear(context_dim, query_dim)
        self.attn = _Attention(query_dim, heads, head_dim)
        self.ff = _FeedForward(query_dim)
        self.norm1 = nn.LayerNorm(query_dim)
        self.norm2 = nn.LayerNorm(query_dim)
        self.alpha_attn = nn.Parameter(torch.tensor(0.0))
        self.alpha_dense = nn.Parameter(torch.tensor(0.0))
        self.position = nn.Linear(fourier_width(4), query_dim) if position_features else None
        if self.position is not None:
            nn.init.zeros_(self.position.weight)
            nn.init.zeros_(self.position.bias)
        self.field = nn.Linear(field_dim, query_dim) if field_dim else None

    def reset_as_residual(self) -> None:
        """Open both gates and silence both branches: still the identity, but all of it learns.

        With alphas at zero nothing but the alphas receives a gradient at first.
        """
        nn.init.ones_(self.alpha_attn)
        nn.init.ones_(self.alpha_dense)
        for last in (self.attn.to_out[0], self.ff.net[2]):
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def remember(
        self,
        tokens: Float[Tensor, "B M D"],
        *,
        cells: Float[Tensor, "N features"] | None = None,
        field: Float[Tensor, "B N F"] | None = None,
        mask: Bool[Tensor, "B 1 N N+M"] | None = None,
    ) -> GroundingMemory:
        """What the visual tokens will see of a layout, at every step.

        Args:
            tokens: the grounding tokens.
            cells: `cell_features` of the visual tokens' grid; needed with `position_features`.
            field: features of the `BoxField`; needed with `field_dim`.
            mask: what each visual token may look at (`Isolation.mask`); all if None.
        """
        projected = self.norm1(self.linear(tokens))
        place = None
        if self.position is not None:
            assert cells is not None, "a gate with position features needs the cells' places"
            place = self.position(cells.to(projected.dtype))[None]
        if self.field is not None:
            assert field is not None, "a gate with a box field needs the field"
            place = self.field(field) if place is None else self.field(field) + place
        return GroundingMemory(
            key=self.attn.to_k(projected),
            value=self.attn.to_v(projected),
            place=place,
            mask=mask,
        )

    def forward(
        self,
        visual: Float[Tensor, "B N C"],
        memory: GroundingMemory,
        *,
        scale: float = 1.0,
        backend: Backend = "auto",
    ) -> Float[Tensor, "B N C"]:
        """Visual tokens that have looked at each other and at the regions.

        Args:
            visual: [B, N, C].
            memory: `remember(tokens)`.
            scale: the schedule's factor on both branches.
            backend: see `grounding.attention`.
        """
        seen = self.attn(self.norm1(memory.placed(visual)), memory, backend)
        visual = torch.addcmul(visual, seen, scale * self.alpha_attn.tanh())
        thought = self.ff(self.norm2(memory.placed(visual)))
        return torch.addcmul(visual, thought, scale * self.alpha_dense.tanh())


def cell_features(
    height: int, width: int, device: torch.device | str | None = None
) -> Float[Tensor, "N 64"]:
    """Fourier features of the box that each visual token covers, row by row, in float32."""
    return fourier_embed(cell_boxes(height, width, device))


class _Attention(nn.Module):
    """Self-attention of [visual; grounding] in which only visual tokens ask."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_k = nn.Linear(dim, inner, bias=False)
        self.to_v = nn.Linear(dim, inner, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(inner, dim)])

    def forward(self, visual: Tensor, memory: GroundingMemory, backend: Backend) -> Tensor:
        key = torch.cat((self.to_k(visual), memory.key), dim=1)
        value = torch.cat((self.to_v(visual), memory.value), dim=1)
        query, key, value = (
            tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for tokens in (self.to_q(visual), key, value)
        )
        seen = attention(query, key, value, mask=memory.mask, backend=backend)
        return self.to_out[0](seen.transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    """Linear(GEGLU(x)) (Shazeer, arXiv 2002.05202); the middle of `net` was a dropout of 0."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        inner = FEED_FORWARD_EXPANSION * dim
        self.net = nn.ModuleList([_GEGLU(dim, inner), nn.Identity(), nn.Linear(inner, dim)])

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](self.net[0](x))


class _GEGLU(nn.Module):
    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)
