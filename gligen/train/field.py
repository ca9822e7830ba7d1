"""Stage 3a: the box field learns what its phrases look like, by plain regression.

From a phrase and a cell's place in its box, the field and one linear layer predict the latents that
lie there. No noise, no UNet: a hundred times cheaper than diffusion, and what comes out is the mean
picture of a phrase, blurred where materials and backgrounds vary. The gates then start from a field
that knows shapes, and the diffusion model does the rest; the linear layer is thrown away.
Axes: B batch, C latent channels, h w latent cells.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gligen.adapter import GligenAdapter
from gligen.box_field import BoxField
from gligen.patch_autoencoder import PatchAutoencoder
from gligen.train.autoencoder import save_grid
from gligen.train.base import decoded
from gligen.train.layouts import Layouts
from gligen.train.scenes import Record


class FieldToLatents(nn.Module):
    """The field with a way out to latents."""

    def __init__(self, box_field: BoxField, latent_channels: int) -> None:
        super().__init__()
        self.box_field = box_field
        self.to_latents = nn.Linear(box_field.out_dim, latent_channels)


@dataclasses.dataclass
class FieldTask:
    """Trains a box field on latents and boxes.

    Attributes:
        model: What is trained.
        adapter: Its grounding tokens are made of the layouts.
        latents: float16 [N, C, h, w].
        records: N records.
        held_out: Records of pairs that training never sees, for the sample grids.
    """

    model: FieldToLatents
    adapter: GligenAdapter
    autoencoder: PatchAutoencoder
    layouts: Layouts
    latents: np.ndarray
    records: list[Record]
    held_out: list[Record]
    batch: int = 64

    def trained(self) -> nn.Module:
        """The field and the linear layer."""
        return self.model

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of latents over the cells that boxes touch."""
        which = torch.randint(len(self.latents), (self.batch,), generator=generator)
        clean = torch.from_numpy(self.latents[which.numpy()]).float()
        predicted, touched = self._predicted([self.records[i] for i in which.tolist()])
        error = (predicted - clean.to(predicted.device)).square().mean(1, keepdim=True)
        return (error * touched).sum() / touched.sum(), {}

    def sample(self, path: Path) -> None:
        """What the field makes of sixteen held-out layouts; grey where there is no box."""
        with torch.no_grad():
            predicted, touched = self._predicted(self.held_out[:16])
        save_grid(decoded(self.autoencoder, predicted * touched), path)

    def _predicted(self, records: list[Record]) -> tuple[Tensor, Tensor]:
        """Latents [B, C, h, w], and where there are boxes, [B, 1, h, w]."""
        height, width = self.latents.shape[2:]
        device = self.model.to_latents.weight.device
        layout = [tensor.to(device) for tensor in self.layouts(records)]
        with torch.no_grad():
            tokens = self.adapter.tokens(*layout)
        features = self.model.box_field(tokens, height, width)
        latents = self.model.to_latents(features).transpose(1, 2).unflatten(2, (height, width))
        touched = features.detach().ne(0).any(-1)[:, None].unflatten(2, (height, width))
        return latents, touched.float()
