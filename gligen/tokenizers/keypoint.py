"""Grounding tokens of people's joints: one for each joint of each person.

Who it is and which joint it is are learned vectors, added; where it is are the Fourier features of
the point (arXiv 2301.07093, section 3.2, "keypoints"). The order is person by person, COCO's 17
joints each.
Axes: B batch, K = persons x 17 joints, C channels of a token.
Parameter names are those of the official `position_net`.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gligen.fourier import fourier_embed, fourier_width
from gligen.tokenizers.mlp import token_mlp
from grounding.joints import JOINTS

__all__ = ["KeypointTokenizer"]

POINT_COORDINATES = 2


class KeypointTokenizer(nn.Module):
    """h = MLP([person + joint, Fourier(point)])."""

    def __init__(
        self,
        *,
        persons: int = 8,
        out_dim: int = 768,
        hidden_dim: int = 512,
        frequencies: int = 8,
    ) -> None:
        super().__init__()
        self.persons, self.out_dim, self.frequencies = persons, out_dim, frequencies
        point_dim = fourier_width(POINT_COORDINATES, frequencies)
        self.person_embeddings = nn.Parameter(torch.zeros(persons, out_dim))
        self.keypoint_embeddings = nn.Parameter(torch.zeros(len(JOINTS), out_dim))
        self.linears = token_mlp(out_dim + point_dim, hidden_dim, out_dim)
        self.null_person_feature = nn.Parameter(torch.zeros(out_dim))
        self.null_xy_feature = nn.Parameter(torch.zeros(point_dim))

    def forward(
        self,
        points: Float[Tensor, "B K 2"],
        masks: Float[Tensor, "B K"] | Bool[Tensor, "B K"],
    ) -> Float[Tensor, "B K C"]:
        """Tokens of a batch of poses.

        Args:
            points: [B, persons * 17, 2] normalised xy, origin top left.
            masks: [B, persons * 17], 1 or True where the joint is given.

        Returns:
            [B, persons * 17, out_dim] in the dtype of the parameters.
        """
        present = masks.bool()[..., None]
        who = self.person_embeddings[:, None] + self.keypoint_embeddings
        what = torch.where(present, who.flatten(0, 1), self.null_person_feature)
        where = fourier_embed(points, self.frequencies).to(what.dtype)
        where = torch.where(present, where, self.null_xy_feature)
        return self.linears(torch.cat((what, where), dim=-1))

    def nothing(self, batch: int, count: int) -> tuple[Tensor, Tensor]:
        """What to call this with for images without people: (points, masks).

        `count` must be the number of persons' joints: the tokens have no other length.
        """
        like = self.null_xy_feature
        assert count == self.persons * len(JOINTS)
        return like.new_zeros(batch, count, POINT_COORDINATES), like.new_zeros(batch, count)
