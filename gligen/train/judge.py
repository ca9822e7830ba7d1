"""The judge's training: crops of rendered scenes, a little displaced and blurred."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gligen.train.autoencoder import save_grid, to_tensor
from gligen.train.scenes import Scenes
from grounding.stickers.judge import PLAIN, StickerJudge, crop

DISPLACEMENT = 0.08  # of a box's side, at most, on each edge


@dataclasses.dataclass
class JudgeTask:
    """Trains the judge on random stickers of rendered scenes."""

    model: StickerJudge
    scenes: Scenes
    batch: int = 64

    def __post_init__(self) -> None:
        """List every sticker once."""
        self._stickers = [
            (scene, sticker)
            for scene, record in enumerate(self.scenes.records)
            for sticker in range(len(record.boxes))
        ]

    def trained(self) -> nn.Module:
        """The judge."""
        return self.model

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of concept and material."""
        which = torch.randint(len(self._stickers), (self.batch,), generator=generator)
        edges = (torch.rand(self.batch, 4, generator=generator) * 2 - 1) * DISPLACEMENT
        blurred = torch.rand(self.batch, generator=generator) < 0.5
        crops = [
            self._crop(index, edge, bool(blur))
            for index, edge, blur in zip(which.tolist(), edges.tolist(), blurred, strict=True)
        ]
        concepts, materials = self._names(which.tolist())
        concept, material = self.model(to_tensor(np.stack(crops)))
        right = (concept.argmax(1) == concepts).float().mean().item()
        loss = F.cross_entropy(concept, concepts) + F.cross_entropy(material, materials)
        return loss, {"concept_accuracy": right}

    def _crop(self, index: int, edge: list[float], blur: bool) -> np.ndarray:
        scene, sticker = self._stickers[index]
        x0, y0, x1, y1 = self.scenes.records[scene].boxes[sticker]
        w, h = x1 - x0, y1 - y0
        box = (x0 + edge[0] * w, y0 + edge[1] * h, x1 + edge[2] * w, y1 + edge[3] * h)
        cut = crop(self.scenes.images[scene], box)
        return cv2.GaussianBlur(cut, (0, 0), 1.0) if blur else cut

    def _names(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        places = [self._stickers[i] for i in indices]
        records = self.scenes.records
        concepts = [self.model.concepts.index(records[s].concepts[k]) for s, k in places]
        materials = [
            self.model.materials.index(records[s].materials[k] or PLAIN) for s, k in places
        ]
        return torch.tensor(concepts), torch.tensor(materials)

    def sample(self, path: Path) -> None:
        """What the judge is shown: 32 crops."""
        save_grid(np.stack([self._crop(i, [0.0] * 4, False) for i in range(32)]), path)


def accuracy(judge: StickerJudge, scenes: Scenes) -> tuple[float, float]:
    """Shares of the stickers whose concept, and whose material, the judge names rightly."""
    pairs = [(s, k) for s, r in enumerate(scenes.records) for k in range(len(r.boxes))]
    crops = [crop(scenes.images[s], scenes.records[s].boxes[k]) for s, k in pairs]
    named = [name for i in range(0, len(crops), 256) for name in judge.names(crops[i : i + 256])]
    records = scenes.records
    concepts = [n == records[s].concepts[k] for (n, _), (s, k) in zip(named, pairs, strict=True)]
    materials = [
        n == (records[s].materials[k] or PLAIN) for (_, n), (s, k) in zip(named, pairs, strict=True)
    ]
    return float(np.mean(concepts)), float(np.mean(materials))
