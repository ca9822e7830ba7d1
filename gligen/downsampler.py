"""From a map to extra channels beside the latents (`downsample_net` in the official code).

Tokens say what the map shows; these channels say where, to the cell.
Axes: B batch, M channels of the map, h x w latent cells, X extra channels.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["MapDownsampler", "shrink_map"]

SHRINK = 4  # of the two convolutions together


class MapDownsampler(nn.Module):
    """The map at four times the latents' size, then two convolutions of stride 2.

    Edges and depth are read from their first channel (`in_channels` 1), whatever the map has.
    """

    def __init__(
        self, *, in_channels: int, hidden_channels: int, out_channels: int, smooth: bool = True
    ) -> None:
        super().__init__()
        self.in_channels, self.smooth = in_channels, smooth
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, hidden_channels, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(hidden_channels, out_channels, 4, stride=2, padding=1),
        )

    def forward(
        self, maps: Float[Tensor, "B M H W"], height: int, width: int
    ) -> Float[Tensor, "B X h w"]:
        """Extra channels for latents of `height` x `width` cells, in the parameters' dtype."""
        maps = maps[:, : self.in_channels].float()  # resized in full precision
        size = SHRINK * height, SHRINK * width
        mode = "bicubic" if self.smooth else "nearest"
        resized = F.interpolate(maps, size, mode=mode)
        return self.layers(resized.to(next(self.parameters()).dtype))


def shrink_map(maps: Float[Tensor, "B M H W"], height: int, width: int) -> Float[Tensor, "B 1 h w"]:
    """The first channel of a map at the size of the latents: all that soft edges (HED) need."""
    return F.interpolate(maps[:, :1].float(), (height, width), mode="bicubic")
