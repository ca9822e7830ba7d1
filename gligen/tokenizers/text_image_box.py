"""Grounding tokens of boxes that are said in words, shown in a picture, or both.

One token says what words say of a region, a second one what its picture shows; each has its own
MLP, and all the first ones come before all the second ones (arXiv 2301.07093, section 3.2, "image
prompt"). A region without words, or without a picture, has a learned null in that token.
Axes: B batch, N regions, P channels of a phrase embedding, V of a picture's, C of a token.
Parameter names are those of the official `position_net`.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gligen.fourier import fourier_embed, fourier_width
from gligen.tokenizers.mlp import token_mlp
from gligen.tokenizers.text_box import BOX_COORDINATES

__all__ = ["TextImageBoxTokenizer"]

Mask = Float[Tensor, "B N"] | Bool[Tensor, "B N"]


class TextImageBoxTokenizer(nn.Module):
    """h = [MLP_t([phrase, Fourier(box)]); MLP_i([picture, Fourier(box)])], 2 N tokens."""

    def __init__(
        self,
        *,
        phrase_dim: int = 768,
        image_dim: int = 768,
        out_dim: int = 768,
        hidden_dim: int = 512,
        frequencies: int = 8,
    ) -> None:
        super().__init__()
        self.phrase_dim, self.image_dim, self.out_dim = phrase_dim, image_dim, out_dim
        self.frequencies = frequencies
        box_dim = fourier_width(BOX_COORDINATES, frequencies)
        self.linears_text = token_mlp(phrase_dim + box_dim, hidden_dim, out_dim)
        self.linears_image = token_mlp(image_dim + box_dim, hidden_dim, out_dim)
        self.null_text_feature = nn.Parameter(torch.zeros(phrase_dim))
        self.null_image_feature = nn.Parameter(torch.zeros(image_dim))
        self.null_position_feature = nn.Parameter(torch.zeros(box_dim))

    def forward(
        self,
        boxes: Float[Tensor, "B N 4"],
        masks: Mask,
        phrases: Float[Tensor, "B N P"],
        images: Float[Tensor, "B N V"],
        phrase_masks: Mask,
        image_masks: Mask,
    ) -> Float[Tensor, "B 2*N C"]:
        """Tokens of a batch of layouts.

        Args:
            boxes: [B, N, 4] normalised xyxy, origin top left.
            masks: [B, N], 1 or True where the region exists.
            phrases: [B, N, phrase_dim], a text encoder's pooled output for each phrase.
            images: [B, N, image_dim], an image encoder's embedding of each reference picture.
            phrase_masks: [B, N], 1 or True where the region is said in words.
            image_masks: [B, N], 1 or True where it is shown in a picture.

        Returns:
            [B, 2 N, out_dim] in the dtype of the parameters: phrases, then pictures.
        """
        dtype = self.null_position_feature.dtype
        where = fourier_embed(boxes, self.frequencies).to(dtype)
        where = torch.where(_column(masks), where, self.null_position_feature)
        said = torch.where(_column(phrase_masks), phrases.to(dtype), self.null_text_feature)
        shown = torch.where(_column(image_masks), images.to(dtype), self.null_image_feature)
        words = self.linears_text(torch.cat((said, where), dim=-1))
        pictures = self.linears_image(torch.cat((shown, where), dim=-1))
        return torch.cat((words, pictures), dim=1)

    def nothing(self, batch: int, count: int) -> tuple[Tensor, ...]:
        """What to call this with for so many tokens of images without a region."""
        like = self.null_position_feature
        count //= 2  # tokens of one region
        absent = like.new_zeros(batch, count)
        return (
            like.new_zeros(batch, count, BOX_COORDINATES),
            absent,
            like.new_zeros(batch, count, self.phrase_dim),
            like.new_zeros(batch, count, self.image_dim),
            absent,
            absent,
        )


def _column(masks: Tensor) -> Tensor:
    return masks.bool()[..., None]
