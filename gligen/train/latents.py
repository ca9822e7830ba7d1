"""Scenes as latents: encoded once, kept on disk, read by every later stage."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from tqdm import tqdm

from gligen.train.autoencoder import encode
from gligen.train.scenes import Scenes

BATCH = 1024


@torch.no_grad()
def encoded(path: Path, autoencoder: AutoencoderTiny, scenes: Scenes) -> np.ndarray:
    """Latents of all scenes, scaled as the diffusion model sees them.

    Args:
        path: The ``.npy`` that keeps them; made if it is not there.
        autoencoder: The trained autoencoder; its ``scaling_factor`` is applied.
        scenes: N scenes.

    Returns:
        float16 [N, C, h, w].
    """
    if not path.exists():
        parts = []
        for start in tqdm(range(0, len(scenes), BATCH), desc="latents", disable=None):
            images = np.asarray(scenes.images[start : start + BATCH])
            latents = encode(autoencoder, images) * autoencoder.config["scaling_factor"]
            parts.append(latents.contiguous().numpy().astype(np.float16))
        unfinished = path.with_suffix(".part.npy")
        np.save(unfinished, np.concatenate(parts))
        unfinished.replace(path)
    return np.load(path)
