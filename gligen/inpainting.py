"""Latents that are known: what inpainting must keep, told to the UNet and pasted at every step.

    z_t = mask * noised(known, t) + (1 - mask) * z_t

(RePaint's equation 8, Lugmayr et al., arXiv 2201.09865, as the released code of GLIGEN does; the
UNet also reads [known * mask, mask], arXiv 2301.07093, section 3.2.)
Axes: B images, C latent channels, h x w latent cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from grounding.errors import LavallamaError

__all__ = ["KnownLatents", "latent_mask"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownLatents:
    """Where and how latents are known.

    Attributes:
        latents: [B, C, h, w], scaled as the UNet's are.
        mask: [B, 1, h, w], 1 where they are kept, 0 where they are drawn anew.
        generators: one for each image; each gives noise at every step, so that a result depends on
            nothing else in the batch.
    """

    latents: Float[Tensor, "B C h w"]
    mask: Float[Tensor, "B 1 h w"]
    generators: Sequence[torch.Generator]

    def __post_init__(self) -> None:
        batch, _, *grid = self.latents.shape
        if list(self.mask.shape) != [batch, 1, *grid] or len(self.generators) != batch:
            raise LavallamaError(
                f"known latents {list(self.latents.shape)} need a mask {[batch, 1, *grid]} and "
                f"{batch} generators; got {list(self.mask.shape)} and {len(self.generators)}"
            )

    def channels(self) -> Float[Tensor, "B C+1 h w"]:
        """What an inpainting UNet reads beside latents."""
        return torch.cat((self.latents * self.mask, self.mask), dim=1)

    def noised(self, signal: float) -> Float[Tensor, "B C h w"]:
        """The known latents with fresh noise; `signal` is the share of their variance (alpha bar).

        At 1 they are as they are, and no noise is drawn.
        """
        if signal == 1:
            return self.latents
        shape = (1, *self.latents.shape[1:])
        noise = torch.cat(
            [torch.randn(shape, generator=one, device=one.device) for one in self.generators]
        ).to(self.latents)
        return signal**0.5 * self.latents + (1 - signal) ** 0.5 * noise

    def pasted(
        self, latents: Float[Tensor, "B C h w"], signal: float = 1.0
    ) -> Float[Tensor, "B C h w"]:
        """Latents with the known ones in their places, as noisy as `signal` says."""
        known = self.noised(signal).to(latents)
        return torch.where(self.mask.bool(), known, latents)


def latent_mask(boxes: Sequence[Box], height: int, width: int) -> Float[Tensor, "1 1 h w"]:
    """The mask of inpainting: 0 in every cell that a box touches, 1 elsewhere.

    Args:
        boxes: normalised xyxy, origin top left.
        height: of the latents, in cells.
        width: the same.
    """
    rows, columns = torch.arange(height), torch.arange(width)
    free = torch.zeros(height, width, dtype=torch.bool)
    for x0, y0, x1, y1 in boxes:
        down = (rows + 1 > y0 * height) & (rows < y1 * height)
        across = (columns + 1 > x0 * width) & (columns < x1 * width)
        free |= down[:, None] & across
    return (~free).float()[None, None]
