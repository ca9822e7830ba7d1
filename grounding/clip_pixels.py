"""Pictures as CLIP reads them (https://github.com/openai/CLIP, clip.py).

Axes: S the side of what CLIP reads.
"""

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

__all__ = ["CLIP_MEAN", "CLIP_STD", "clip_pixels"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(picture: Image.Image, side: int) -> Float[Tensor, "1 3 S S"]:
    """A picture as CLIP reads it: the short side scaled to `side`, the middle cut out."""
    scale = side / min(picture.size)
    width, height = (max(side, round(length * scale)) for length in picture.size)
    picture = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    values = np.asarray(picture, dtype=np.float32) / 255
    values = (values - np.array(CLIP_MEAN, np.float32)) / np.array(CLIP_STD, np.float32)
    return torch.from_numpy(values).permute(2, 0, 1)[None]
