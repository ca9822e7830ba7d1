"""The first convolution of a UNet, widened: it reads more than latents while an adapter is at work.

Maps and inpainting give the UNet channels beside the latents (arXiv 2301.07093, section 3.2). What
a convolution makes of all channels is what it makes of the latents plus what it makes of the
others, and the others are the same at every step: that part is computed once for a run. With zero
weights for the new channels the result is the plain convolution's to the bit.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gligen.inject import Run
from grounding.errors import LavallamaError

__all__ = ["GroundedConv", "widened"]


def widened(conv: nn.Conv2d, latent_channels: int, extra_channels: int) -> nn.Conv2d:
    """A trainable copy of a UNet's first convolution that reads more channels.

    New channels have zero weights. Of a convolution that is on the meta device there is nothing to
    copy, nor of channels that it does not read.
    """
    wide = nn.Conv2d(
        latent_channels + extra_channels,
        conv.out_channels,
        kernel_size=(conv.kernel_size[0], conv.kernel_size[1]),
        padding=(int(conv.padding[0]), int(conv.padding[1])),
    )
    if conv.weight.is_meta:
        return wide
    known = min(conv.in_channels, wide.in_channels)
    with torch.no_grad():
        wide.weight.zero_()
        wide.weight[:, :known] = conv.weight[:, :known]
        bias = wide.get_parameter("bias")
        if conv.bias is not None:
            bias.copy_(conv.bias)
        else:
            bias.zero_()
    return wide


class GroundedConv:
    """The UNet's own first convolution with a widened one beside it.

    Attributes:
        run: what is grounded at present; None: the UNet's own convolution runs.
        swaps: the UNet's own convolution also runs while the gates are off (not for inpainting).
    """

    def __init__(self, conv: nn.Conv2d, wide: nn.Conv2d, *, swaps: bool) -> None:
        self.conv: Any = conv  # torch's stubs know no forward that is set, no padding in numbers
        self.wide: Any = wide
        self.swaps = swaps
        self.run: Run | None = None
        self._own_forward = conv.forward
        self._replaced: dict[str, Any] = {}

    def attach(self) -> None:
        """Bind the widened forward to the UNet's convolution."""
        self._replaced = {k: v for k, v in vars(self.conv).items() if k == "forward"}
        self._own_forward = self.conv.forward
        self.conv.forward = self.forward

    def detach(self) -> None:
        """Give the convolution back its own forward."""
        vars(self.conv).pop("forward", None)
        vars(self.conv).update(self._replaced)

    def forward(self, latents: Tensor) -> Tensor:
        """[B, C, h, w] latents to features, with the run's extra channels if there are any."""
        run = self.run
        if run is None or run.extra is None or (self.swaps and run.scale == 0):
            return self._own_forward(latents)
        extra, wide, known = run.extra, self.wide, latents.shape[1]
        wanted = latents.shape[0], wide.in_channels - known, *latents.shape[2:]
        if tuple(extra.shape) != wanted:
            raise LavallamaError(
                f"the extra channels of this run must be {list(wanted)} for its latents; got "
                f"{list(extra.shape)}; with guidance, give them for both halves"
            )
        plain = wide.weight[:, :known].contiguous()  # as the UNet's own: the same bits come out
        own = F.conv2d(latents, plain, wide.bias, wide.stride, wide.padding)
        return own + run.recall(self, extra, lambda: self._of_extra(extra, known))

    def _of_extra(self, extra: Tensor, known: int) -> Tensor:
        wide = self.wide
        extra = extra.to(wide.weight.dtype)
        return F.conv2d(extra, wide.weight[:, known:], None, wide.stride, wide.padding)
