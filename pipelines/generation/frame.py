"""Frame: the picture sizes that a model can draw, and the latents they stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from grounding.errors import GeometryError
from grounding.prompt import Canvas
from pipelines.generation.layout import Notice

__all__ = ["Frame"]

# A canvas of so many times the model's own area, or one over it, is drawn only if asked for by
# size: far from what it was trained on, a model draws things twice, or nothing.
FAR = 4.0


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Sizes of one model.

    Attributes:
        width: of the pictures it was trained on, in pixels.
        height: the same.
        channels: of its latents.
        factor: pixels of one side of a latent cell.
        multiple: what both sides of a picture must be multiples of, in pixels.
    """

    width: int
    height: int
    channels: int
    factor: int
    multiple: int

    @classmethod
    def of(cls, unet: Any, vae: Any) -> Frame:
        """Read the sizes from the configs of a UNet2DConditionModel and its autoencoder."""
        if hasattr(vae.config, "upsampling_scaling_factor"):  # AutoencoderTiny
            halvings = len(vae.config.decoder_block_out_channels) - 1
            factor = vae.config.upsampling_scaling_factor**halvings
        else:  # AutoencoderKL halves between its blocks
            factor = 2 ** (len(vae.config.block_out_channels) - 1)
        side = unet.config.sample_size
        height, width = (side, side) if isinstance(side, int) else side
        return cls(
            width=width * factor,
            height=height * factor,
            channels=unet.config.out_channels,
            factor=factor,
            multiple=factor * 2 ** (len(unet.config.block_out_channels) - 1),
        )

    def size(
        self, wanted: tuple[int, int] | None, canvas: Canvas | None, say: Notice
    ) -> tuple[int, int]:
        """Settle a picture's size.

        Args:
            wanted: (width, height) that the caller insists on.
            canvas: the document's; taken if the model can draw it and it is not far from its own.
            say: told when the canvas is not taken.

        Returns:
            (width, height) in pixels.

        Raises:
            GeometryError: `wanted` is not a multiple of what the model needs; names the nearest.
        """
        own = self.width, self.height
        if wanted is not None:
            self._check(wanted)
            return wanted
        if canvas is None or canvas.size == own:
            return own
        times = math.prod(canvas.size) / math.prod(own)
        if any(side % self.multiple for side in canvas.size) or not 1 / FAR <= times <= FAR:
            say(
                f"the canvas of {canvas.width}x{canvas.height} only scales the boxes: the picture "
                f"is {own[0]}x{own[1]}, the model's own size; width and height ask for another"
            )
            return own
        return canvas.size

    def fitting(self, picture: tuple[int, int]) -> tuple[int, int]:
        """The size that a picture is redrawn at: of its shape, as far as the model can draw it.

        Args:
            picture: its (width, height) in pixels.

        Returns:
            (width, height) in pixels; the picture's own if the model can draw that.
        """
        times = math.prod(picture) / (self.width * self.height)
        scale = 1.0 if 1 / FAR <= times <= FAR else times**-0.5
        width, height = (
            max(1, round(scale * side / self.multiple)) * self.multiple for side in picture
        )
        return width, height

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(C, h, w) of the latents of a picture of (width, height)."""
        width, height = size
        return self.channels, height // self.factor, width // self.factor

    def _check(self, size: tuple[int, int]) -> None:
        for name, side in zip(("width", "height"), size, strict=True):
            below = side // self.multiple * self.multiple
            if below == side and side > 0:
                continue
            nearest = f"{below} or {below + self.multiple}" if below > 0 else str(self.multiple)
            raise GeometryError(
                f"{name} must be a multiple of {self.multiple} for this model, got {side}; "
                f"the nearest: {nearest}"
            )
