"""Grounding tokens: what is where, one token for each region (arXiv 2301.07093, equations 4-5).

Axes: B batch, N regions (30 in the public checkpoints), P channels of a phrase embedding,
C channels of a grounding token. Parameter names are those of the official `position_net`.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gligen.fourier import fourier_embed, fourier_width
from gligen.tokenizers.mlp import token_mlp

__all__ = ["TextBoxTokenizer"]

BOX_COORDINATES = 4


class TextBoxTokenizer(nn.Module):
    """h = MLP([phrase, Fourier(box)]): a phrase and its box become one grounding token.

    An absent region is replaced by learned nulls *before* the MLP, so that "nothing here" is a
    token as well; guidance contrasts against it.
    """

    def __init__(
        self,
        *,
        phrase_dim: int = 768,
        out_dim: int = 768,
        hidden_dim: int = 512,
        frequencies: int = 8,
    ) -> None:
        super().__init__()
        self.phrase_dim, self.out_dim, self.frequencies = phrase_dim, out_dim, frequencies
        box_dim = fourier_width(BOX_COORDINATES, frequencies)
        self.linears = token_mlp(phrase_dim + box_dim, hidden_dim, out_dim)
        self.null_positive_feature = nn.Parameter(torch.zeros(phrase_dim))
        self.null_position_feature = nn.Parameter(torch.zeros(box_dim))

    def forward(
        self,
        boxes: Float[Tensor, "B N 4"],
        masks: Float[Tensor, "B N"] | Bool[Tensor, "B N"],
        phrases: Float[Tensor, "B N P"],
    ) -> Float[Tensor, "B N C"]:
        """Tokens of a batch of layouts.

        Args:
            boxes: [B, N, 4] normalised xyxy, origin top left.
            masks: [B, N], 1 or True where the region exists.
            phrases: [B, N, phrase_dim], a text encoder's pooled output for each phrase.

        Returns:
            [B, N, out_dim] in the dtype of the parameters.
        """
        present = masks.bool()[..., None]
        dtype = self.null_positive_feature.dtype
        what = torch.where(present, phrases.to(dtype), self.null_positive_feature)
        where = fourier_embed(boxes, self.frequencies).to(dtype)
        where = torch.where(present, where, self.null_position_feature)
        return self.linears(torch.cat((what, where), dim=-1))

    def nothing(self, batch: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """What to call this with for images without a region: (boxes, masks, phrases)."""
        like = self.null_positive_feature
        return (
            like.new_zeros(batch, count, BOX_COORDINATES),
            like.new_zeros(batch, count),
            like.new_zeros(batch, count, self.phrase_dim),
        )
