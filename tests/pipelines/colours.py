"""An embedder that knows colours and pitches: what it gives can be told in advance."""

import numpy as np
import torch
from PIL import Image

from grounding.embedder import check_modality, modality_of

WORDS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


class Colours:
    """Texts that name colours, pictures by their mean, low and high sounds as red and blue."""

    name, fingerprint, scale = "colours", "c0ffee", 10.0
    modalities = frozenset({"text", "image", "audio"})

    def __init__(self):
        self.read = 0

    def embed(self, items):
        self.read += len(items)
        return torch.stack([self._embed(item) for item in items])

    def _embed(self, item):
        kind = modality_of(item)
        check_modality(self, kind)
        if kind == "text":
            values = np.sum([WORDS[w] for w in item.strip(".").split() if w in WORDS], axis=0)
        elif kind == "image":
            values = np.asarray(item, np.float32).mean((0, 1))
        else:
            crossings = (np.diff(np.sign(item.samples)) != 0).mean()
            values = (0, 0, 1) if crossings > 0.1 else (1, 0, 0)
        vector = torch.as_tensor(np.array(values, np.float32))
        return vector / vector.norm()


class NoEmbedder:
    """Lacks everything."""


def write_pictures(folder):
    """red.png, green.png and, in a folder of its own, blue.png."""
    (folder / "more").mkdir(parents=True)
    for name, place in (("red", folder), ("green", folder), ("blue", folder / "more")):
        Image.new("RGB", (8, 6), name if name != "green" else (0, 255, 0)).save(
            place / f"{name}.png"
        )
    return folder
