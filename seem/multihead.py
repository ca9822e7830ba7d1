"""Multi-head attention in separate steps, so that keys and values can be computed once and kept.

Axes: B batch, H heads, N tokens, Q query tokens, K key tokens, D channels of a token, E of a head.

    attend(query, key, value) = concat_h(softmax(q_h k_h^T / sqrt(E)) v_h) W_o + b_o

(Vaswani et al., "Attention Is All You Need", arXiv 1706.03762, section 3.2.) Parameters have the
names and shapes of `torch.nn.MultiheadAttention`: the query's, key's and value's projections are
the three row blocks of `in_proj_weight`.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from grounding.attention import Backend, attention

__all__ = ["MultiheadAttention"]

Mask = Float[Tensor, "#B #H #Q K"] | Bool[Tensor, "#B #H #Q K"]


class MultiheadAttention(nn.Module):
    """Attention whose four projections can be called one by one."""

    def __init__(self, dim: int, heads: int) -> None:
        """Build it for tokens of `dim` channels, which `heads` must divide."""
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads must divide the {dim} channels: change one of them")
        self.dim, self.heads = dim, heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def queries(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B H N E"]:
        """Project tokens to queries."""
        return self._project(tokens, 0)

    def keys(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B H N E"]:
        """Project tokens to keys."""
        return self._project(tokens, 1)

    def values(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B H N E"]:
        """Project tokens to values."""
        return self._project(tokens, 2)

    def attend(
        self,
        query: Float[Tensor, "B H Q E"],
        key: Float[Tensor, "B H K E"],
        value: Float[Tensor, "B H K E"],
        mask: Mask | None = None,
        backend: Backend = "auto",
    ) -> Float[Tensor, "B Q D"]:
        """Let projected queries look at projected keys and values.

        Args:
            query: From `queries`.
            key: From `keys`.
            value: From `values`.
            mask: Broadcastable to [B, H, Q, K]; bool (True = may attend) or an additive bias.
            backend: As for `grounding.attention.attention`.

        Returns:
            The tokens' updates. A query that may attend to nothing gets the bias of `out_proj`.
        """
        seen = attention(query, key, value, mask=mask, backend=backend)
        return self.out_proj(seen.transpose(1, 2).flatten(2))

    def forward(
        self,
        query: Float[Tensor, "B Q D"],
        key: Float[Tensor, "B K D"],
        value: Float[Tensor, "B K D"],
        mask: Mask | None = None,
        backend: Backend = "auto",
    ) -> Float[Tensor, "B Q D"]:
        """All steps at once, for tokens that are not projected yet."""
        return self.attend(
            self.queries(query), self.keys(key), self.values(value), mask=mask, backend=backend
        )

    def _project(self, tokens: Tensor, block: int) -> Tensor:
        rows = slice(block * self.dim, (block + 1) * self.dim)
        projected = F.linear(tokens, self.in_proj_weight[rows], self.in_proj_bias[rows])
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
