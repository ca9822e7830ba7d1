"""Teaches gates where to look: visual tokens inside a box attend to that box's grounding token.

Left alone, a gate finds out that boxes mean places only after a very long time, and nothing in the
loss tells when: a hundred thousand steps are common for GLIGEN. But what it must find out is known.
So for half of the heads of each gate the attention itself is supervised, by the cross-entropy of a
visual token's attention against the token of the box around it. Attention Refocusing (Phung et al.,
arXiv 2306.05427) optimises latents for such an aim while sampling; here it trains the weights, and
costs nothing later.
Axes: B batch, H heads, N visual tokens, M grounding tokens.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gligen.adapter import GligenAdapter

NO_BOX = -1


class AttentionTeacher:
    """Listens to an adapter's gates and scores where their taught heads look.

    Args:
        adapter: Its gates are watched from now on.
    """

    def __init__(self, adapter: GligenAdapter) -> None:
        self._seen: list[Tensor] = []
        for gate in adapter.gates.values():
            gate.attn.register_forward_pre_hook(self._listen)

    def _listen(self, attention: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Log-probabilities of the taught heads, float [B, H / 2, N, N + M]."""
        if not torch.is_grad_enabled():
            return
        layer: Any = attention
        visual, memory, *_ = inputs
        taught = max(1, layer.heads // 2)
        width = taught * (memory.key.shape[-1] // layer.heads)
        key = torch.cat((F.linear(visual, layer.to_k.weight[:width]), memory.key[..., :width]), 1)
        query = F.linear(visual, layer.to_q.weight[:width])
        query, key = (t.unflatten(-1, (taught, -1)).transpose(1, 2) for t in (query, key))
        logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        self._seen.append(logits.log_softmax(-1))

    def loss(self, targets: Tensor) -> Tensor:
        """Mean cross-entropy over all gates, heads and visual tokens that lie in a box.

        Args:
            targets: int64 [B, N], which grounding token each visual token should look at, or
                ``NO_BOX``; see ``box_of_cell``.
        """
        losses = []
        inside = targets != NO_BOX
        for chances in self._seen:
            visual = chances.shape[2]
            places = (targets.clamp(min=0) + visual)[:, None, :, None]
            hit = chances.gather(-1, places.expand(-1, chances.shape[1], -1, 1))[..., 0]
            losses.append(
                -(hit * inside[:, None]).sum() / (inside.sum() * hit.shape[1]).clamp(min=1)
            )
        self._seen.clear()
        return torch.stack(losses).mean()


def box_of_cell(boxes: Tensor, masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """The box that holds the centre of each cell, the last of several.

    Args:
        boxes: [B, N, 4] normalised xyxy.
        masks: [B, N], 1 where the box exists.
        grid: (h, w) cells.

    Returns:
        int64 [B, h * w] indices of boxes, ``NO_BOX`` where there is none.
    """
    height, width = grid
    x, y = (torch.arange(width) + 0.5) / width, (torch.arange(height) + 0.5) / height
    x0, y0, x1, y1 = boxes[..., None].unbind(2)
    across, down = (x0 <= x) & (x < x1), (y0 <= y) & (y < y1)
    holds = (down[..., :, None] & across[..., None, :]).flatten(2) & masks.bool()[..., None]
    numbers = torch.arange(boxes.shape[1])[None, :, None]
    return torch.where(holds, numbers, NO_BOX).amax(1)


def spread_tokens(adapter: GligenAdapter) -> None:
    """Initial weights under which different regions get clearly different tokens.

    With PyTorch's own initial weights the tokens of any two regions are nearly parallel after a
    gate's LayerNorm (cosine 0.77 measured), so attention cannot tell them apart for long.
    """
    net = adapter.position_net
    for layer in (m for m in net.linears if isinstance(m, nn.Linear)):
        nn.init.orthogonal_(layer.weight, gain=2**0.5)
        nn.init.zeros_(layer.bias)
    for gate in adapter.gates.values():
        nn.init.orthogonal_(gate.linear.weight)
        nn.init.zeros_(gate.linear.bias)
        if gate.position is not None:
            nn.init.normal_(gate.position.weight, std=gate.position.in_features**-0.5)
