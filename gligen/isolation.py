"""Instance isolation: each visual token belongs to one region, and sees nothing of the others.

Gated self-attention lets every visual token look at every other one and at every grounding token,
so a region's material turns up on its neighbour. Isolation gives each token an owner, the region
in front there, and hides from it the grounding tokens and the visual tokens that others own. This
is the masked attention of InstanceDiffusion (Wang et al., arXiv 2402.03290, section 3.2) without
its training. Unlike there, tokens of no region, the background, see all and are seen by all, so
that a picture stays one picture; and where regions overlap there is one owner, as each instance
has its own place in MIGC (Zhou et al., arXiv 2402.05408).
Axes: B images, R regions, M grounding tokens (R, or 2 R with reference pictures), h x w latent
cells, N visual tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grounding.errors import LavallamaError

__all__ = ["Isolation"]

INSIDE = 0.5  # of a token's area: from here on it lies in a region


@dataclass(frozen=True, kw_only=True, eq=False)
class Isolation:
    """Where the regions of a batch lie.

    Attributes:
        shares: [B, R, h, w], how much of each latent cell a region covers, 0 to 1; zero everywhere
            for a region that is absent.
        ranks: [B, R], higher in front; different in those that are present.
    """

    shares: Float[Tensor, "B R h w"]
    ranks: Int[Tensor, "B R"]

    def owned(self, height: int, width: int) -> Bool[Tensor, "B R N"]:
        """Which tokens of a grid belong to which region, row by row.

        A token that lies in regions belongs to the foremost of them, one that regions only touch
        to the one that covers most of it.
        """
        shares = F.adaptive_avg_pool2d(self.shares, (height, width)).flatten(2)
        claims = torch.where(shares < INSIDE, shares, (1 + self.ranks[..., None]).to(shares))
        owner = claims.argmax(dim=1, keepdim=True)
        regions = torch.arange(shares.shape[1], device=shares.device)[:, None]
        return (owner == regions) & (shares > 0)

    def territories(
        self, height: int, width: int, tokens: int
    ) -> tuple[Bool[Tensor, "B R N"], Bool[Tensor, "B 1 N N+M"]]:
        """What belongs to each region, and what each visual token may look at.

        Args:
            height, width: of the grid.
            tokens: grounding tokens of an image, M.

        Returns:
            `owned`, and a mask over [visual; grounding] tokens. Grounding tokens of absent regions
            are seen by all: the gates have learned to expect them.
        """
        owned = self.owned(height, width)
        own = owned.float()
        together = own.transpose(1, 2) @ own > 0
        background = ~owned.any(dim=1)
        visual = together | background[:, :, None] | background[:, None, :]
        absent = self.shares.flatten(2).sum(-1, keepdim=True) == 0
        grounding = (owned | absent).repeat(1, tokens // owned.shape[1], 1)
        return owned, torch.cat((visual, grounding.transpose(1, 2)), dim=-1)[:, None]

    def only(self, present: Float[Tensor, "B R"]) -> "Isolation":
        """The same without the regions where `present` is 0."""
        return Isolation(shares=self.shares * present[..., None, None], ranks=self.ranks)

    def nowhere(self) -> "Isolation":
        """The same without any region: nothing is kept apart."""
        return self.only(torch.zeros_like(self.shares[..., 0, 0]))

    @classmethod
    def joined(cls, parts: Sequence["Isolation"]) -> "Isolation":
        """Several batches as one."""
        return cls(
            shares=torch.cat([part.shares for part in parts]),
            ranks=torch.cat([part.ranks for part in parts]),
        )

    def to(self, device: torch.device) -> "Isolation":
        """The same on another device."""
        return Isolation(shares=self.shares.to(device), ranks=self.ranks.to(device))

    def check(self, tokens: Float[Tensor, "B M D"]) -> None:
        """Refuse grounding tokens that are not of these regions.

        Raises:
            LavallamaError: other images, or no whole number of tokens a region.
        """
        images, regions = self.ranks.shape
        if tokens.shape[0] != images or tokens.shape[1] % regions:
            raise LavallamaError(
                f"isolation is for the regions of the grounding tokens: expected {images} images "
                f"with {regions} tokens each, or a multiple; got {list(tokens.shape[:2])}"
            )
