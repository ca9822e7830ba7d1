"""Original: a picture that is redrawn inside boxes and kept outside of them.

The model draws at a size of its own; what it drew is scaled to that of the result.
Axes: H x W pixels, C latent channels, h x w latent cells.
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
from grounding.errors import PromptError
from grounding.geometry import Box
from grounding.masks import box_to_bitmap
from weights.base import BaseModel

__all__ = ["Original", "encoded_picture", "picture_condition", "picture_latents"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Original:
    """What is known of a picture that is to be inpainted.

    Attributes:
        pixels: of the picture, at the size of the result.
        free: where it is drawn anew.
        latents: of the picture, scaled as the UNet's are.
        mask: 1 in the latent cells that are kept, 0 in those that a box touches.
        beside: what an inpainting UNet reads after its latents: the mask, 1 where it draws, and the
            latents of the picture with the boxes painted grey (Rombach et al., arXiv 2112.10752,
            section 4.5; the channels are those of Stable Diffusion's inpainting checkpoints).
        blend: pixels of the result inside the boxes over which old fades into new; 0: a hard edge.
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    free: Bool[np.ndarray, "H W"]
    latents: Float[Tensor, "1 C h w"]
    mask: Float[Tensor, "1 1 h w"]
    beside: Float[Tensor, "1 C+1 h w"] | None = None
    blend: int = 0

    @classmethod
    def of(
        cls,
        picture: Image.Image,
        boxes: Sequence[Box],
        base: BaseModel,
        size: tuple[int, int],
        result: tuple[int, int],
        blend: int = 0,
    ) -> Original:
        """Prepare a picture.

        Args:
            picture: RGB.
            boxes: normalised xyxy, what is drawn anew.
            base: its autoencoder reads the picture.
            size: (width, height) that is drawn.
            result: (width, height) of the result; its own, and the picture stays as it is.
            blend: as the attribute.

        Raises:
            PromptError: there is no box.
        """
        if not boxes:
            raise PromptError("inpainting redraws boxes, and the document has none; give some")
        values = _values(_scaled(picture, size))
        latents, beside = encoded_picture(values, base.vae), None
        mask = latent_mask(boxes, *latents.shape[-2:]).to(latents.device)
        if base.inpaints:
            hidden = values.masked_fill(torch.from_numpy(_inside(boxes, size)), 0.0)
            beside = torch.cat((1 - mask, encoded_picture(hidden, base.vae)), dim=1)
        return cls(
            pixels=_scaled(picture, result),
            free=_inside(boxes, result),
            latents=latents,
            mask=mask,
            beside=beside,
            blend=blend,
        )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the result."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def composed(self, drawn: Image.Image) -> Image.Image:
        """The drawn picture, scaled, inside the boxes; the original, bit for bit, outside."""
        new = _scaled(drawn, self.size)
        if self.blend == 0:
            return Image.fromarray(np.where(self.free[..., None], new, self.pixels), "RGB")
        depth = cv2.distanceTransform(self.free.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
        share = (depth / (self.blend + 1)).clip(0, 1)[..., None]
        mixed = np.rint(share * new + (1 - share) * self.pixels).astype(np.uint8)
        return Image.fromarray(np.where(self.free[..., None], mixed, self.pixels), "RGB")


def picture_condition(
    originals: Sequence[Original], generators: Sequence[torch.Generator]
) -> dict[str, Any]:
    """What the sampler is told of a batch of originals: keyword arguments of its `Condition`.

    A UNet that inpaints by itself reads the picture; for any other, known latents are pasted.

    Args:
        originals: one for each image of the batch, or none at all.
        generators: those that made the images' first noise.
    """
    read = [original.beside for original in originals if original.beside is not None]
    if read:
        return {"beside": torch.cat(read)}
    if not originals:
        return {}
    known = KnownLatents(
        latents=torch.cat([original.latents for original in originals]),
        mask=torch.cat([original.mask for original in originals]),
        generators=generators,
    )
    return {"known": known}


def picture_latents(
    picture: Image.Image, vae: Any, size: tuple[int, int]
) -> Float[Tensor, "1 C h w"]:
    """The latents of a picture, scaled to (width, height)."""
    return encoded_picture(_values(_scaled(picture, size)), vae)


@torch.no_grad()
def encoded_picture(values: Float[Tensor, "1 3 H W"], vae: Any) -> Float[Tensor, "1 C h w"]:
    """The latents of a picture, float32: the most likely ones, so that no seed is spent."""
    parameter = next(vae.parameters())
    seen = vae.encode(values.to(parameter))
    latents = seen.latent_dist.mode() if hasattr(seen, "latent_dist") else seen.latents
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    return (latents.float() - shift) * vae.config.scaling_factor


def _inside(boxes: Sequence[Box], size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """The pixels, of (width, height), whose centre lies in a box."""
    inside = np.zeros((size[1], size[0]), dtype=bool)
    for box in boxes:
        inside |= box_to_bitmap(box, size)
    return inside


def _scaled(picture: Image.Image, size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def _values(pixels: UInt8[np.ndarray, "H W 3"]) -> Float[Tensor, "1 3 H W"]:
    """Pixels in [-1, 1], as autoencoders read them."""
    return torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
