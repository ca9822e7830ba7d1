"""OpenCLIP's text tower in a few lines of torch, named as in its checkpoints."""

from collections import OrderedDict

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // 64, batch_first=True)
        mlp = {"c_fc": nn.Linear(width, 96), "gelu": nn.GELU(), "c_proj": nn.Linear(96, width)}
        self.mlp = nn.Sequential(OrderedDict(mlp))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class OpenClipText(nn.Module):
    def __init__(self, width: int, layers: int, vocabulary: int, length: int, out: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.randn(length, width))
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, out))
        self.logit_scale = nn.Parameter(torch.ones(()))
        for name, parameter in self.named_parameters():
            if "ln_" in name or "bias" in name:  # torch begins with ones and zeros
                nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.3)

    @torch.no_grad()
    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """States before the last layer, and projected states of the end token (the last one)."""
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        mask = torch.full((ids.shape[1],) * 2, float("-inf")).triu(1)
        blocks = list(self.transformer.resblocks)
        for block in blocks[:-1]:
            x = block(x, mask)
        last = self.ln_final(blocks[-1](x, mask))
        return x, last[:, -1] @ self.text_projection
