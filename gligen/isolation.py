"""Instance isolation: a visual token sees nothing of the regions that it does not belong to.

Gated self-attention lets every visual token look at every other one and at every grounding token,
so one region's material turns up on another. Isolation hides from a token of a region the grounding
tokens and the visual tokens of other regions. This is the masked attention of InstanceDiffusion
(Wang et al., arXiv 2402.03290, UniFusion), without its training; but tokens of no region, the
background, see all and are seen by all. Where regions overlap, what lies behind gives way, so that
each instance has a place of its own, as in MIGC (Zhou et al., arXiv 2402.05408); `BoxField` heeds
that too.
Axes: B images, R regions, M grounding tokens (R, or 2 R with reference pictures), h x w latent
cells, N visual tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from grounding.errors import LavallamaError

__all__ = ["Isolation"]

HIDDEN = 0.5  # of what a region covers of a token: from here on it has lost it


@dataclass(frozen=True, kw_only=True, eq=False)
class Isolation:
    """Where the regions of a batch lie.

    Attributes:
        covered: [B, R, h, w], how much of each latent cell a region covers, 0 to 1; zero
            everywhere for a region that is absent.
        seen: [B, R, h, w], how much of that no other region hides.
    """

    covered: Float[Tensor, "B R h w"]
    seen: Float[Tensor, "B R h w"]

    def owned(self, height: int, width: int) -> Bool[Tensor, "B R N"]:
        """Which tokens of a grid belong to which region, row by row.

        To all that it shows: neighbours share the tokens on their border, as the gates have
        learned; what lies behind another region owns nothing there.
        """
        covered, seen = (
            F.adaptive_avg_pool2d(part, (height, width)).flatten(2)
            for part in (self.covered, self.seen)
        )
        return seen > (1 - HIDDEN) * covered

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
        absent = self.covered.flatten(2).sum(-1, keepdim=True) == 0
        grounding = (owned | absent).repeat(1, tokens // owned.shape[1], 1)
        return owned, torch.cat((visual, grounding.transpose(1, 2)), dim=-1)[:, None]

    def nowhere(self) -> "Isolation":
        """As many regions that are absent: nothing is kept apart."""
        return Isolation(covered=torch.zeros_like(self.covered), seen=torch.zeros_like(self.seen))

    @classmethod
    def joined(cls, parts: Sequence["Isolation"]) -> "Isolation":
        """Several batches as one."""
        return cls(
            covered=torch.cat([part.covered for part in parts]),
            seen=torch.cat([part.seen for part in parts]),
        )

    def to(self, device: torch.device) -> "Isolation":
        """The same on another device."""
        return Isolation(covered=self.covered.to(device), seen=self.seen.to(device))

    def check(self, tokens: Float[Tensor, "B M D"]) -> None:
        """Refuse grounding tokens that are not of these regions.

        Raises:
            LavallamaError: other images, or no whole number of tokens a region.
        """
        images, regions = self.covered.shape[:2]
        if tokens.shape[0] != images or tokens.shape[1] % regions:
            raise LavallamaError(
                f"isolation is for the regions of the grounding tokens: expected {images} images "
                f"with {regions} tokens each, or a multiple; got {list(tokens.shape[:2])}"
            )
