"""Fourier features of coordinates, the form in which GLIGEN is told where things are.

gamma(c) = [sin(f_0 c), cos(f_0 c), ..., sin(f_7 c), cos(f_7 c)] with f_i = 100^(i/8): a geometric
ladder as in NeRF (arXiv 2003.08934, equation 4), without its factor pi and with GLIGEN's own
temperature (arXiv 2301.07093, section 3.1).
"""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["fourier_embed", "fourier_width"]

FREQUENCIES = 8  # GLIGEN, FourierEmbedder(num_freqs=8)
TEMPERATURE = 100.0  # GLIGEN, FourierEmbedder(temperature=100)


def fourier_width(coordinates: int, frequencies: int = FREQUENCIES) -> int:
    """Numbers that `fourier_embed` makes of so many coordinates: 64 of a box, 32 of a point."""
    return 2 * frequencies * coordinates


def fourier_embed(
    coordinates: Float[Tensor, "*shape C"],
    frequencies: int = FREQUENCIES,
    temperature: float = TEMPERATURE,
) -> Float[Tensor, "*shape features"]:
    """Embed normalised coordinates, in float32 whatever comes in.

    In bfloat16 the highest frequency is off by 0.23, which is why the dtype is not the caller's.

    Args:
        coordinates: [..., C] in [0, 1]; xyxy boxes (C = 4) or xy points (C = 2).
        frequencies: steps of the ladder.
        temperature: the frequency that the ladder would reach after its last step.

    Returns:
        [..., 2 * frequencies * C] float32: for each frequency the sines of all coordinates, then
        their cosines.
    """
    steps = torch.arange(frequencies, dtype=torch.float32, device=coordinates.device)
    ladder = temperature ** (steps / frequencies)
    angles = ladder[:, None] * coordinates.float()[..., None, :]  # [..., frequencies, C]
    return torch.stack((angles.sin(), angles.cos()), dim=-2).flatten(-3)
