"""Scenes as latents: encoded once, kept on disk, read by every later stage."""

import io
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from gligen.patch_autoencoder import PatchAutoencoder
from gligen.train.autoencoder import to_tensor
from gligen.train.scenes import Scenes
from grounding.files import write_files

BATCH = 256


@torch.no_grad()
def encoded(path: Path, autoencoder: PatchAutoencoder, scenes: Scenes) -> np.ndarray:
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
            pixels = to_tensor(np.asarray(scenes.images[start : start + BATCH]))
            latents = autoencoder.encoder(pixels) * autoencoder.config["scaling_factor"]
            parts.append(latents.contiguous().numpy().astype(np.float16))
        file = io.BytesIO()
        np.save(file, np.concatenate(parts))
        write_files({path: file.getvalue()})
    return np.load(path)
