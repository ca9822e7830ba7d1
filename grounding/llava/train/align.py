"""The projector learns to say of the tower's features what their patches would be spelled out as.

Before stage 1, and for a model whose language side knows spelled patches only: a regression, which
needs neither the tower nor the language model at hand. Axes as in `spelled`; C channels of a patch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["AlignTask", "even_out"]


@dataclass
class AlignTask:
    """Trains a projector.

    Attributes:
        projector: Features [B, N, C] -> words [B, N, D].
        look: Scenes' numbers -> what the tower sees of them [B, N, C], and their patches spelled
            out [B, N, D].
        scenes: Their number.
        batch: Scenes in a step.
    """

    projector: nn.Module
    look: Callable[[Sequence[int]], tuple[Tensor, Tensor]]
    scenes: int
    batch: int = 16

    def trained(self) -> nn.Module:
        """The projector."""
        return self.projector

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """What is left of the variance of the words of a random batch."""
        chance = np.random.default_rng([generator.initial_seed(), 9])
        numbers = np.sort(chance.integers(self.scenes, size=self.batch)).tolist()
        with torch.no_grad():
            features, wanted = self.look(numbers)
        left = (self.projector(features) - wanted).square().mean()
        return left / wanted.var(), {}

    def sample(self, path: Path) -> None:
        """Nothing is drawn."""


@torch.no_grad()
def even_out(projector: nn.Module, features: Float[Tensor, "B N C"]) -> None:
    """Let a fresh projector begin as if its input had mean zero and deviation one."""
    first = next(module for module in projector.modules() if isinstance(module, nn.Linear))
    flat = features.flatten(0, 1)
    first.weight.div_(flat.std(0).clamp(min=1e-4))
    first.bias.sub_(first.weight @ flat.mean(0))
