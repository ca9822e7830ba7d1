"""Cues: what the companions of a model are given for one picture."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pipelines.generation.companions.ip_adapter import Shown

__all__ = ["Cues"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cues:
    """Maps to follow and a picture to resemble.

    Attributes:
        maps: [1, C, H, W] in [0, 1], one for each ControlNet; none at all: they rest.
        weights: one for each map.
        shown: a picture as the IP-Adapter reads it; None: there is no IP-Adapter.
        likeness: how much it counts.
    """

    maps: tuple[Tensor, ...] = ()
    weights: tuple[float, ...] = ()
    shown: Shown | None = None
    likeness: float = 0.0

    def is_like(self, other: Cues) -> bool:
        """Whether pictures of both can be drawn in one batch."""
        return self.weights == other.weights and self.likeness == other.likeness
