"""A neural field in every box's own coordinates: what of its object lies in which visual token.

A grounding token says where a box is on the canvas. What a visual token must draw depends on where
*it* lies in the box, which a gate has to work out for every place and size anew; with millions of
images it does (arXiv 2301.07093), with thousands it does not. The field is told instead:

    field(n) = sum over the boxes m that n touches of f(phrase m, Fourier(n in the frame of box m))

where (0, 0, 1, 1) in the frame of a box is the box itself. f is a small network on coordinates (as
in NeRF, arXiv 2003.08934) modulated by the phrase (FiLM, arXiv 1709.07871). It knows neither noise
nor time, so a run of the sampler computes it once. An option of our own adapters: no published
layout has it.
Axes: B batch, N regions, P channels of a phrase embedding, D of a grounding token, F of the field.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gligen.fourier import fourier_embed, fourier_width

__all__ = ["BoxField", "cell_boxes"]

LAYERS = 3
SMALLEST_SIDE = 1e-4  # of a box, as a fraction of the canvas


class BoxField(nn.Module):
    """From boxes and phrases to features of every cell of a grid."""

    def __init__(
        self, *, phrase_dim: int, out_dim: int, hidden_dim: int = 384, frequencies: int = 8
    ) -> None:
        super().__init__()
        self.phrase_dim, self.out_dim, self.frequencies = phrase_dim, out_dim, frequencies
        first = fourier_width(4, frequencies)
        self.phrase = nn.Linear(phrase_dim, LAYERS * 2 * hidden_dim)
        self.layers = nn.ModuleList(
            nn.Linear(hidden_dim if i else first, hidden_dim) for i in range(LAYERS)
        )
        self.out = nn.Linear(hidden_dim, out_dim)

    def attach(
        self, tokens: Tensor, boxes: Tensor, masks: Tensor, phrases: Tensor
    ) -> Float[Tensor, "B N D+P+5"]:
        """Let grounding tokens [B, N, D] carry along what the field needs, in float32."""
        carried = (phrases, boxes, masks[..., None])
        return torch.cat([tokens.float(), *(part.float() for part in carried)], dim=-1)

    def bare(self, tokens: Tensor) -> Float[Tensor, "B N D"]:
        """Grounding tokens alone, in the field's dtype."""
        return tokens[..., : -(self.phrase_dim + 5)].to(self.out.weight.dtype)

    def forward(
        self,
        tokens: Float[Tensor, "B N D+P+5"],
        height: int,
        width: int,
        owned: Bool[Tensor, "B N cells"] | None = None,
    ) -> Tensor:
        """Features of a grid's cells, row by row.

        Args:
            tokens: Tokens with what ``attach`` gave them.
            height, width: Of the grid.
            owned: The cells that belong to each region (`gligen.isolation`), where no other is
                heard; None: regions that touch one cell add up.

        Returns:
            [B, height * width, F] in the dtype of the parameters; zero where there is no box.
        """
        phrases, boxes, masks = tokens[..., -(self.phrase_dim + 5) :].split(
            (self.phrase_dim, 4, 1), dim=-1
        )
        cells = cell_boxes(height, width, tokens.device)
        inside = _in_frames(cells, boxes)
        touched = ((inside[..., 2:] > 0) & (inside[..., :2] < 1)).all(-1) & (masks > 0)
        if owned is not None:
            touched = touched & owned
        image, region, cell = touched.nonzero(as_tuple=True)
        values = self._values(phrases, image * boxes.shape[1] + region, inside[touched])
        features = values.new_zeros(len(tokens) * len(cells), self.out_dim)
        features = features.index_add(0, image * len(cells) + cell, values)
        return features.unflatten(0, (len(tokens), len(cells)))

    def _values(self, phrases: Tensor, region: Tensor, inside: Tensor) -> Tensor:
        """f of K cells [K, 4] in the frames of regions [K], numbered through phrases [B, N, P]."""
        dtype = self.out.weight.dtype
        x = fourier_embed(inside, self.frequencies).to(dtype)
        modulations = self.phrase(phrases.to(dtype)).flatten(0, 1)
        modulations = modulations.index_select(0, region).unflatten(-1, (LAYERS, 2, -1))
        for layer, modulation in zip(self.layers, modulations.unbind(1), strict=True):
            scale, shift = modulation.unbind(1)
            x = F.silu(layer(x) * (1 + scale) + shift)
        return self.out(x)


def _in_frames(cells: Tensor, boxes: Tensor) -> Float[Tensor, "B N cells 4"]:
    """Cells [cells, 4] in the frames of boxes [B, N, 4]: (0, 0, 1, 1) is the box itself."""
    origin, corner = boxes.chunk(2, dim=-1)
    size = (corner - origin).clamp(min=SMALLEST_SIDE)
    return (cells - origin.repeat(1, 1, 2)[:, :, None]) / size.repeat(1, 1, 2)[:, :, None]


def cell_boxes(
    height: int, width: int, device: torch.device | str | None = None
) -> Float[Tensor, "height*width 4"]:
    """The box that each cell of a grid covers, normalised xyxy, row by row."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    edges = torch.stack((x / width, y / height, (x + 1) / width, (y + 1) / height), dim=-1)
    return edges.flatten(0, 1)
