"""The embedded vision tower learns what its patches show.

It plays the part of CLIP (arXiv 2304.08485, section 4.1): trained before, and apart from, the
language model, and frozen from then on. Its patches are asked by linear heads, thrown away in the
end, for what they show, where the whole of it lies, and which is its middle. Axes as in `cells`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from grounding.clip_pixels import CLIP_MEAN, CLIP_STD
from grounding.llava.train.cells import NOTHING, Cells, cells_of
from grounding.stickers.world import World

__all__ = ["TowerTask", "normalized"]

EVENED = 64  # pictures by which the heads' input is brought to mean zero and deviation one
RARE = -3.0  # logarithm of the odds that a patch is a middle, about
WEIGHTS = {"concept": 1.0, "material": 1.0, "background": 0.2, "box": 8.0, "middle": 2.0}


def normalized(images: np.ndarray, device: torch.device | str = "cpu") -> Float[Tensor, "B 3 H W"]:
    """Pictures uint8 [B, H, W, 3] as CLIP-like towers read them."""
    values = torch.from_numpy(np.array(images)).to(device).float() / 255
    mean, std = (torch.tensor(v, device=device) for v in (CLIP_MEAN, CLIP_STD))
    return ((values - mean) / std).permute(0, 3, 1, 2).contiguous()


@dataclass
class TowerTask:
    """Trains a vision tower on scenes of stickers.

    Attributes:
        tower: A vision model of transformers; its last hidden states are read.
        world: Whose training scenes of seeds 0, 1, ... the pictures show.
        images: uint8 [N, H, W, 3].
        ids: uint8 [N, H, W]: whose each pixel is.
        batch: Pictures in a step.
        shown: Pictures at the end of `images` that are kept for measuring.
    """

    tower: nn.Module
    world: World
    images: np.ndarray
    ids: np.ndarray
    batch: int = 16
    shown: int = 200

    def __post_init__(self) -> None:
        """Add the heads, the same at every start."""
        config: Any = self.tower.config
        self.grid: int = config.image_size // config.patch_size
        sizes = {
            "concept": 1 + len(self.world.concepts),
            "material": 1 + len(self.world.materials),
            "background": len(self.world.backgrounds),
            "box": 4,
            "middle": 1,
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            heads = {name: nn.Linear(config.hidden_size, size) for name, size in sizes.items()}
        nn.init.constant_(heads["box"].bias, 0.5)
        nn.init.constant_(heads["middle"].bias, RARE)
        self.heads = nn.ModuleDict(heads).to(next(self.tower.parameters()).device)
        with torch.no_grad():
            seen = self._seen(np.arange(min(EVENED, len(self.images)))).flatten(0, 1)
        self._mean, self._deviation = seen.mean(0), seen.std(0).clamp(min=1e-4)
        self._whole = nn.ModuleDict({"tower": self.tower, "heads": self.heads})

    def trained(self) -> nn.Module:
        """The tower and its heads."""
        return self._whole

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a random batch, and its parts."""
        chance = np.random.default_rng([generator.initial_seed(), 5])
        numbers = np.sort(chance.integers(len(self.images) - self.shown, size=self.batch))
        said, cells = self._read(numbers)
        here = cells.concepts > 0
        parts = {
            name: F.cross_entropy(said[name].flatten(0, 2), truth.flatten(), ignore_index=NOTHING)
            for name, truth in (
                ("concept", cells.concepts),
                ("material", cells.materials),
                ("background", cells.backgrounds),
            )
        }
        parts["box"] = (said["box"][here] - cells.boxes[here]).abs().mean()
        parts["middle"] = F.binary_cross_entropy_with_logits(said["middle"][..., 0], cells.middles)
        total = torch.stack([WEIGHTS[name] * part for name, part in parts.items()]).sum()
        return total, {name: part.item() for name, part in parts.items()}

    @torch.no_grad()
    def sample(self, path: Path) -> dict[str, float]:
        """Measure on the pictures that are kept for it; show the first of them."""
        first = len(self.images) - self.shown
        right: dict[str, list[Tensor]] = {}
        for start in range(first, len(self.images), self.batch):
            numbers = np.arange(start, min(start + self.batch, len(self.images)))
            said, cells = self._read(numbers)
            for name, values in _judged(said, cells).items():
                right.setdefault(name, []).append(values)
        cv2.imwrite(str(path), cv2.cvtColor(self.images[first], cv2.COLOR_RGB2BGR))
        return {f"held_out/{k}": torch.cat(v).float().mean().item() for k, v in right.items()}

    def _read(self, numbers: Sequence[int] | np.ndarray) -> tuple[dict[str, Tensor], Cells]:
        """What the heads say of pictures, [B, G, G, ...], and the truth."""
        device = next(self.heads.parameters()).device
        scenes = [self.world.scene(int(number)) for number in numbers]
        cells = cells_of(scenes, self.ids[numbers], self.world, self.grid)
        moved = Cells(**{name: value.to(device) for name, value in vars(cells).items()})
        even = (self._seen(numbers) - self._mean) / self._deviation
        places = even.unflatten(1, (self.grid, self.grid))
        return {name: head(places) for name, head in self.heads.items()}, moved

    def _seen(self, numbers: Sequence[int] | np.ndarray) -> Float[Tensor, "B N C"]:
        """What the tower sees."""
        pixels = normalized(self.images[numbers], next(self.heads.parameters()).device)
        return self.tower(pixels, output_hidden_states=True).hidden_states[-1]


def _judged(said: dict[str, Tensor], cells: Cells) -> dict[str, Tensor]:
    """Where the heads are right; of boxes, how far they are off."""
    here = cells.concepts > 0
    return {
        "concept": (said["concept"].argmax(-1) == cells.concepts)[here],
        "material": (said["material"].argmax(-1) == cells.materials)[here],
        "background": (said["concept"].argmax(-1) == cells.concepts)[~here],
        "box": (said["box"] - cells.boxes).abs()[here].flatten(),
        "middles": ((said["middle"][..., 0] > 0).sum((1, 2)) == cells.middles.sum((1, 2))),
    }
