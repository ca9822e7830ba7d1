"""Image backbones: padded pixels in, four maps of strides 4, 8, 16 and 32 out.

Axes: B batch, H W the padded image.
"""

from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from grounding.errors import LavallamaError
from seem.backbones.davit import DaViT, DaViTConfig
from seem.backbones.focalnet import FocalNet, FocalNetConfig
from seem.backbones.nanodet import NanoDet, NanoDetConfig
from seem.backbones.sam_vit import SamViT, SamViTConfig

__all__ = [
    "Backbone",
    "BackboneConfig",
    "DaViT",
    "DaViTConfig",
    "FocalNet",
    "FocalNetConfig",
    "NanoDet",
    "NanoDetConfig",
    "SamViT",
    "SamViTConfig",
    "build_backbone",
]

BackboneConfig = FocalNetConfig | DaViTConfig | SamViTConfig | NanoDetConfig


class Backbone(Protocol):
    """What every backbone offers, whatever it is made of."""

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of res2, res3, res4 and res5."""
        ...

    @property
    def size_divisibility(self) -> int:
        """Both sides of the pixels must be multiples of this."""
        ...

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The maps res2, res3, res4 and res5 of normalised and padded pixels.

        Each is [B, channels, H/stride, W/stride], with strides 4, 8, 16 and 32.
        """
        ...

    def __call__(self, pixels: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same, through the hooks of `torch.nn.Module`."""
        ...


def build_backbone(config: BackboneConfig) -> FocalNet | DaViT | SamViT | NanoDet:
    """A backbone with fresh parameters, as its config says.

    Raises:
        LavallamaError: the config belongs to no backbone.
    """
    if isinstance(config, FocalNetConfig):
        return FocalNet(config)
    if isinstance(config, DaViTConfig):
        return DaViT(config)
    if isinstance(config, SamViTConfig):
        return SamViT(config)
    if isinstance(config, NanoDetConfig):
        return NanoDet(config)
    raise LavallamaError(
        "a backbone is built from a FocalNetConfig, DaViTConfig, SamViTConfig or "
        f"NanoDetConfig; "
        f"got {type(config).__name__}"
    )
