"""The judge: a small classifier that names the concept and the material in a crop of a picture.

It is trained on rendered crops alone, apart from every generator, so that its verdict on what a
generator drew is independent. Axes: B crops, 48 x 48 pixels.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from grounding.errors import CheckpointError

__all__ = ["CROP", "StickerJudge", "crop"]

CROP = 48  # pixels a side
PLAIN = "plain"  # the name of no material
WIDTHS = (32, 64, 128, 192)


class StickerJudge(nn.Module):
    """Four convolutions, halving in between, and two linear heads.

    Args:
        concepts: Names of the classes of the first head.
        materials: Names of the classes of the second head, beside "plain" (no material).
    """

    def __init__(self, concepts: Sequence[str], materials: Sequence[str]) -> None:
        super().__init__()
        self.concepts = tuple(concepts)
        self.materials = (PLAIN, *(m for m in materials if m != PLAIN))
        layers: list[nn.Module] = []
        for before, width in zip((3, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.GroupNorm(8, width), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if width != WIDTHS[-1] else []
        self.features = nn.Sequential(*layers)
        self.to_concept = nn.Linear(2 * WIDTHS[-1], len(self.concepts))
        self.to_material = nn.Linear(2 * WIDTHS[-1], len(self.materials))

    def forward(
        self, crops: Float[Tensor, "B 3 48 48"]
    ) -> tuple[Float[Tensor, "B concepts"], Float[Tensor, "B materials"]]:
        """Scores of every concept and of every material, before softmax.

        Args:
            crops: [B, 3, 48, 48] in [-1, 1].
        """
        features = self.features(crops)
        pooled = torch.cat((features.mean((2, 3)), features.amax((2, 3))), 1)
        return self.to_concept(pooled), self.to_material(pooled)

    @torch.no_grad()
    def names(self, crops: Sequence[np.ndarray]) -> list[tuple[str, str]]:
        """The likeliest (concept, material) of each crop, uint8 [48, 48, 3] each."""
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1
        concept, material = self(pixels)
        return [
            (self.concepts[c], self.materials[m])
            for c, m in zip(concept.argmax(1).tolist(), material.argmax(1).tolist(), strict=True)
        ]

    def save_pretrained(self, folder: Path) -> None:
        """Write ``judge.safetensors`` (float16) and ``config.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.detach().half().contiguous() for k, v in self.state_dict().items()}
        save_file(state, folder / "judge.safetensors")
        config = {"concepts": self.concepts, "materials": self.materials}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")

    @classmethod
    def from_pretrained(cls, folder: Path) -> "StickerJudge":
        """Read what ``save_pretrained`` wrote, in float32, ready to judge."""
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
            judge = cls(config["concepts"], config["materials"])
            judge.load_state_dict(load_file(folder / "judge.safetensors"))
        except (OSError, KeyError, RuntimeError, json.JSONDecodeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"{folder} is not a judge ({reason}); "
                "train one with `python -m pipelines.train judge`"
            ) from None
        return judge.eval()


def crop(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """Cut a box out of a picture and stretch it to the judge's size.

    Args:
        image: uint8 [H, W, 3].
        box: Normalised xyxy; what lies outside the picture is left out.

    Returns:
        uint8 [48, 48, 3].
    """
    height, width = image.shape[:2]
    x0, y0 = max(0, round(box[0] * width)), max(0, round(box[1] * height))
    x1, y1 = max(x0 + 1, round(box[2] * width)), max(y0 + 1, round(box[3] * height))
    return cv2.resize(image[y0:y1, x0:x1], (CROP, CROP), interpolation=cv2.INTER_AREA)
