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
MOST_VISUAL = 1024  # gates of finer grids are not taught: their attention would fill the memory


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
        layer: Any = attention
        visual, memory, *_ = inputs
        if not torch.is_grad_enabled() or visual.shape[1] > MOST_VISUAL:
            return
        taught = max(1, layer.heads // 2)
        width = taught * (memory.key.shape[-1] // layer.heads)
        key = torch.cat((F.linear(visual, layer.to_k.weight[:width]), memory.key[..., :width]), 1)
        query = F.linear(visual, layer.to_q.weight[:width])
        query, key = (t.unflatten(-1, (taught, -1)).transpose(1, 2) for t in (query, key))
        logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        self._seen.append(logits.log_softmax(-1))

    def forget(self) -> None:
        """Leave out what was seen: a checkpointed UNet shows it twice."""
        self._seen.clear()

    def loss(self, boxes: Tensor, masks: Tensor, grid: tuple[int, int]) -> Tensor:
        """Mean cross-entropy over all gates, heads and visual tokens that lie in a box.

        Each image counts alike, so that a batch may be split.

        Args:
            boxes: [B, N, 4] normalised xyxy.
            masks: [B, N], 1 where the box exists.
            grid: (h, w) of the latents; gates may lie on halvings of it.
        """
        targets = {h * w: box_of_cell(boxes, masks, (h, w)) for h, w in _halvings(grid)}
        losses = [boxes.new_zeros(())]
        for chances in self._seen:
            heads, visual = chances.shape[1:3]
            wanted = targets[visual].to(chances.device)
            inside = wanted != NO_BOX
            places = (wanted.clamp(min=0) + visual)[:, None, :, None].expand(-1, heads, -1, 1)
            hit = chances.gather(-1, places)[..., 0] * inside[:, None]
            counted = (inside.sum(1) * heads).clamp(min=1)
            losses.append(-(hit.sum((1, 2)) / counted).mean())
        total = torch.stack([one.to(losses[-1].device) for one in losses]).sum()
        self._seen.clear()
        return total / max(1, len(losses) - 1)


def _halvings(grid: tuple[int, int]) -> list[tuple[int, int]]:
    """The grids of a UNet's levels; a convolution of stride 2 rounds up."""
    grids = [grid]
    while max(grids[-1]) > 1:
        height, width = grids[-1]
        grids.append(((height + 1) // 2, (width + 1) // 2))
    return grids


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
