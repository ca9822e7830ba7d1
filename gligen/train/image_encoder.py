"""The image encoder of reference pictures: it learns to say, of a crop, the phrase's embedding.

The text encoder stays as it is, and the pictures are led to it (LiT, arXiv 2111.07991): CLIP's
contrastive loss (arXiv 2103.00020, section 2.3) against the embeddings of all phrases. A picture's
embedding can then stand in a phrase's place (Pic2Word, arXiv 2302.03084).
Axes: B batch, D channels of a phrase embedding, P phrases.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from gligen.train.autoencoder import save_grid
from gligen.train.scenes import Scenes
from grounding.clip_pixels import clip_pixels

SIDE = 64  # pixels that the encoder reads
TEMPERATURE = 0.05
CLOSEST, WIDEST = -0.05, 0.4  # rim around a sticker's box, in its sides


def build_image_encoder(width: int) -> CLIPVisionModelWithProjection:
    """An untrained image tower of CLIP's kind.

    Args:
        width: Channels of a phrase embedding, which it is to give.
    """
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            image_size=SIDE,
            patch_size=8,
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=4,
            projection_dim=width,
            hidden_act="quick_gelu",
        )
    )


@dataclasses.dataclass
class ImageEncoderTask:
    """Trains the encoder on random stickers of rendered scenes.

    Attributes:
        model: What is trained.
        scenes: Where the stickers come from.
        phrases: Embedding [D] of each phrase of the scenes.
    """

    model: CLIPVisionModelWithProjection
    scenes: Scenes
    phrases: dict[str, Tensor]
    batch: int = 64

    def __post_init__(self) -> None:
        """List every sticker once, and number the phrases."""
        self._stickers = stickers(self.scenes)
        self._number = {phrase: index for index, phrase in enumerate(self.phrases)}
        self._said = F.normalize(torch.stack(list(self.phrases.values())), dim=1)

    def trained(self) -> nn.Module:
        """The encoder."""
        return self.model

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the phrase, plus how far the embedding points away from its own."""
        which = torch.randint(len(self._stickers), (self.batch,), generator=generator).tolist()
        moves = torch.rand(self.batch, 3, generator=generator).tolist()
        places = [self._stickers[index] for index in which]
        crops = [
            sticker_crop(
                self.scenes, place, rim=CLOSEST + (WIDEST - CLOSEST) * move[0], at=move[1:]
            )
            for place, move in zip(places, moves, strict=True)
        ]
        wanted = torch.tensor(
            [self._number[self.scenes.records[scene].phrases[k]] for scene, k in places]
        )
        seen = embedded(self.model, crops)
        likeness = seen @ self._said.to(seen).T
        wanted = wanted.to(seen.device)
        away = 1 - likeness.gather(1, wanted[:, None]).mean()
        right = (likeness.argmax(1) == wanted).float().mean().item()
        loss = F.cross_entropy(likeness / TEMPERATURE, wanted) + away
        return loss, {"accuracy": right, "cosine": 1 - away.item()}

    def sample(self, path: Path) -> None:
        """What the encoder is shown: 32 crops."""
        crops = [sticker_crop(self.scenes, place) for place in self._stickers[:32]]
        save_grid(np.stack([np.asarray(crop.resize((SIDE, SIDE))) for crop in crops]), path)


def stickers(scenes: Scenes) -> list[tuple[int, int]]:
    """Every sticker of some scenes: the scene's number, and its own in it."""
    return [(s, k) for s, record in enumerate(scenes.records) for k in range(len(record.boxes))]


def sticker_crop(
    scenes: Scenes, place: tuple[int, int], *, rim: float = 0.1, at: Sequence[float] = (0.5, 0.5)
) -> Image.Image:
    """A square of a scene around a sticker; what lies beyond the scene repeats its edge.

    Args:
        scenes: Rendered scenes.
        place: The scene's number, and the sticker's in it.
        rim: Around its box, in longer sides of it.
        at: Where in the rim the sticker lies, x and y of 0 to 1.
    """
    scene, sticker = place
    image = scenes.images[scene]
    height, width = image.shape[:2]
    x0, y0, x1, y1 = scenes.records[scene].boxes[sticker]
    longer = max((x1 - x0) * width, (y1 - y0) * height)
    side = max(4.0, longer * (1 + 2 * rim))
    left = (x0 + x1) * width / 2 - side / 2 + (at[0] - 0.5) * longer * max(rim, 0)
    top = (y0 + y1) * height / 2 - side / 2 + (at[1] - 0.5) * longer * max(rim, 0)
    columns = (left + side * (np.arange(SIDE) + 0.5) / SIDE).astype(int).clip(0, width - 1)
    rows = (top + side * (np.arange(SIDE) + 0.5) / SIDE).astype(int).clip(0, height - 1)
    return Image.fromarray(np.ascontiguousarray(image[rows][:, columns]))


def embedded(
    model: CLIPVisionModelWithProjection, crops: Sequence[Image.Image]
) -> Float[Tensor, "B D"]:
    """The embeddings of some pictures, of length 1."""
    pixels = torch.cat([clip_pixels(crop, SIDE) for crop in crops])
    return F.normalize(model(pixels.to(model.device)).image_embeds, dim=-1)


@torch.no_grad()
def accuracy(
    model: CLIPVisionModelWithProjection, scenes: Scenes, phrases: dict[str, Tensor]
) -> tuple[float, float]:
    """Share of the stickers whose phrase is the nearest of all, and the mean cosine to it."""
    said = F.normalize(torch.stack(list(phrases.values())), dim=1)
    names = list(phrases)
    right: list[bool] = []
    cosines: list[float] = []
    places = stickers(scenes)
    for start in range(0, len(places), 256):
        some = places[start : start + 256]
        likeness = embedded(model, [sticker_crop(scenes, place) for place in some]) @ said.T
        wanted = [names.index(scenes.records[scene].phrases[k]) for scene, k in some]
        right += (likeness.argmax(1) == torch.tensor(wanted)).tolist()
        cosines += likeness[torch.arange(len(some)), wanted].tolist()
    return float(np.mean(right)), float(np.mean(cosines))
