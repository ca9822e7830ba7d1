"""What gates learn from: examples by number, drawn alone, read together.

Every image of a step has a random generator of its own, seeded by (seed, step, place in the step);
so what is learnt does not depend on how a step is split into batches and processes.
Axes: B batch, C latent channels, h w latent cells, T prompt tokens, D channels of the text encoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

__all__ = ["Batch", "Draw", "Examples", "slot_generator"]


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One image of a step, as far as chance decides what is read of it.

    Attributes:
        number: Of the example.
        mirrored: Left and right are swapped.
        captioned: Whether its caption is told.
    """

    number: int
    mirrored: bool
    captioned: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Examples of one size.

    Attributes:
        latents: float32 [B, C, h, w], scaled as the UNet's are.
        context: [B, T, D], the encoded captions.
        added: Further inputs of the UNet (SDXL).
        grounding: What the adapter's tokenizer takes (`gligen.tokenizers`); of adapters for boxes,
            boxes [B, N, 4] and masks [B, N] come first.
        maps: [B, M, H, W], for adapters that read maps.
    """

    latents: Tensor
    context: Tensor
    grounding: tuple[Tensor, ...]
    added: Mapping[str, Tensor] = field(default_factory=dict)
    maps: Tensor | None = None


class Examples(Protocol):
    """A data set."""

    @property
    def buckets(self) -> Sequence[Sequence[int]]:
        """The numbers of the examples, those of one size together."""
        ...

    def batch(self, draws: Sequence[Draw]) -> Batch:
        """Read examples of one bucket."""
        ...


def slot_generator(*place: int) -> torch.Generator:
    """The generator of a place, such as (seed, step, image); PyTorch's reads 32 bits of a seed."""
    [mixed] = np.random.SeedSequence(place).generate_state(1)
    return torch.Generator().manual_seed(int(mixed))
