"""Original: a picture that is redrawn inside boxes and kept outside of them.

Axes: H x W pixels of the picture that is drawn, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from gligen.inpainting import KnownLatents, latent_mask
from grounding.geometry import Box
from grounding.masks import box_to_bitmap

__all__ = ["Original", "known_latents"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Original:
    """What is known of a picture that is to be inpainted.

    Attributes:
        pixels: of the picture, at the size that is drawn.
        free: where it is drawn anew.
        latents: of the picture, scaled as the UNet's are.
        mask: 1 in the latent cells that are kept, 0 in those that a box touches.
        blend: pixels inside the boxes over which old fades into new; 0: a hard edge.
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    free: Bool[np.ndarray, "H W"]
    latents: Float[Tensor, "1 C h w"]
    mask: Float[Tensor, "1 1 h w"]
    blend: int = 0

    @classmethod
    def of(
        cls, picture: Image.Image, boxes: Sequence[Box], vae: Any, size: tuple[int, int], blend: int
    ) -> Original:
        """Prepare a picture.

        Args:
            picture: RGB; scaled to `size`.
            boxes: normalised xyxy, what is drawn anew.
            vae: the autoencoder, as the base model has it.
            size: (width, height) that is drawn.
            blend: as the attribute.
        """
        pixels = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
        free = np.zeros(pixels.shape[:2], dtype=bool)
        for box in boxes:
            free |= box_to_bitmap(box, size)
        latents = _encoded(pixels, vae)
        mask = latent_mask(boxes, *latents.shape[-2:]).to(latents.device)
        return cls(pixels=pixels, free=free, latents=latents, mask=mask, blend=blend)

    def composed(self, drawn: Image.Image) -> Image.Image:
        """The drawn picture inside the boxes, the original, bit for bit, outside."""
        new = np.asarray(drawn)
        if self.blend == 0:
            return Image.fromarray(np.where(self.free[..., None], new, self.pixels), "RGB")
        depth = cv2.distanceTransform(self.free.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
        share = (depth / (self.blend + 1)).clip(0, 1)[..., None]
        mixed = np.rint(share * new + (1 - share) * self.pixels).astype(np.uint8)
        return Image.fromarray(np.where(self.free[..., None], mixed, self.pixels), "RGB")


def known_latents(
    originals: Sequence[Original], generators: Sequence[torch.Generator]
) -> KnownLatents | None:
    """What the sampler must keep of a batch of originals; None without any.

    Args:
        originals: one for each image of the batch, or none at all.
        generators: those that made the images' first noise.
    """
    if not originals:
        return None
    return KnownLatents(
        latents=torch.cat([original.latents for original in originals]),
        mask=torch.cat([original.mask for original in originals]),
        generators=generators,
    )


@torch.no_grad()
def _encoded(pixels: np.ndarray, vae: Any) -> Tensor:
    """The latents of a picture, float32: the most likely ones, so that no seed is spent."""
    parameter = next(vae.parameters())
    values = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    seen = vae.encode(values.to(parameter))
    latents = seen.latent_dist.mode() if hasattr(seen, "latent_dist") else seen.latents
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    return (latents.float() - shift) * vae.config.scaling_factor
