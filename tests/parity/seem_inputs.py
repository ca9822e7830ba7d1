"""What SEEM's golden files were computed from: parameters and inputs that are functions of names.

Axes: H height, W width, T the 77 places of a text.

A tag, with its colon ("golden:"), prefixes the names of all inputs; parameters go by the official
key alone. Coordinates are pixels before padding, the same in every configuration.
"""

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from tests.parity.fill import noise, parameter

IMAGE_SIZE = (218, 281)  # height, width; also of the reference image
SAM_IMAGE_SIZE = (768, 1000)
COARSE_CELLS = (9, 11)
CONTEXT = 77
WORDS = {"short": 5, "medium": 11, "long": 75}
START_TOKEN, END_TOKEN = 49406, 49407
CLASSES, TEXT_DIM = 7, 512  # the last class is "background"
NO_OBJECT_WEIGHT = 0.1  # SEEM's NO_OBJECT_WEIGHT, in the buffer criterion.empty_weight

EMBEDDINGS = (  # unit normal: with smaller ones all queries would collapse into one
    "query_feat.weight",
    "query_embed.weight",
    "level_embed.weight",
    "level_embed",
    "pn_indicator.weight",
    "spatial_embed.weight",
    "spatial_featured.weight",
    "token_embedding.weight",
    "positional_embedding",
    "pos_embed",
)


def fill(official_key: str, shape: Sequence[int]) -> np.ndarray:
    """The value that a golden run used for a key of the official state dict, float32."""
    if official_key.endswith("dilation_kernel"):
        return np.ones(shape, np.float32)
    if official_key.endswith("criterion.empty_weight"):
        weight = np.ones(shape, np.float32)
        weight[-1] = NO_OBJECT_WEIGHT
        return weight
    if official_key.endswith("lang_encoder.logit_scale"):
        return np.ones(shape, np.float32)
    if official_key.endswith(EMBEDDINGS):
        return noise(official_key, shape).numpy()
    if official_key.endswith("out_proj.weight"):
        return 0.25 * parameter(official_key, shape).numpy()
    if official_key.endswith("linear2.weight"):
        return 0.5 * parameter(official_key, shape).numpy()
    return parameter(official_key, shape).numpy()


def fill_module(module: nn.Module, official_key: Callable[[str], str]) -> None:
    """Set every parameter and kept buffer of a module, by the official name of its key."""
    state = module.state_dict()
    module.load_state_dict(
        {key: torch.from_numpy(fill(official_key(key), v.shape)) for key, v in state.items()}
    )


def image(name: str, height: int, width: int) -> np.ndarray:
    """An RGB picture of soft blotches and grain, uint8 [3, H, W].

    The main image is image(tag + "image", 218, 281), the reference image image(tag + "reference",
    218, 281), and the one for SAM backbones image(tag + "sam.image", 768, 1000).
    """
    coarse = noise(name + ".coarse", (3, *COARSE_CELLS)).numpy().astype(np.float64)
    fine = noise(name + ".fine", (3, height, width)).numpy().astype(np.float64)
    rows, columns = COARSE_CELLS
    y = np.arange(height) * (rows - 1) / (height - 1)
    x = np.arange(width) * (columns - 1) / (width - 1)
    top = np.minimum(y.astype(int), rows - 2)
    left = np.minimum(x.astype(int), columns - 2)
    down, right = (y - top)[:, None], (x - left)[None, :]
    above, below = coarse[:, top], coarse[:, top + 1]
    blotches = (1 - down) * ((1 - right) * above[:, :, left] + right * above[:, :, left + 1])
    blotches += down * ((1 - right) * below[:, :, left] + right * below[:, :, left + 1])
    return np.clip(np.rint(127 + 55 * blotches + 12 * fine), 0, 255).astype(np.uint8)


def class_embeddings(tag: str) -> np.ndarray:
    """Unit rows for seven classes, the last of them "background", float32 [7, 512]."""
    rows = noise(tag + "classes", (CLASSES, TEXT_DIM)).numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def token_ids(tag: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Token ids (int64 [77]) and attention masks (bool [77]) of "short", "medium" and "long"."""
    texts = {}
    for name, words in WORDS.items():
        numbers = np.abs(noise(f"{tag}tokens.{name}", (words,)).numpy())
        ids = np.full(CONTEXT, END_TOKEN, np.int64)
        ids[0] = START_TOKEN
        ids[1 : words + 1] = np.floor(numbers * 12000).astype(np.int64) % 48000 + 300
        texts[name] = (ids, np.arange(CONTEXT) < words + 2)
    return texts


def prompt_masks(
    tag: str, height: int = IMAGE_SIZE[0], width: int = IMAGE_SIZE[1]
) -> dict[str, np.ndarray]:
    """The drawn prompts, bool [H, W] each: point, point2, neg, scribble, big and ref.

    "ref" belongs to the reference image. The box prompt is `mask_of_pixels` of the file's array
    `click.box.pixels_yx`.
    """
    shift = zlib.crc32(tag.encode()) % 16
    size = (height, width)
    y, x = np.mgrid[:height, :width]
    middle = 100 + np.abs((2 * x) % 80 - 40)
    in_stroke = (x >= 60 + shift) & (x < 180 + shift)
    return {
        "point": _dot(70 + shift, 90 + shift, size),
        "point2": _dot(95 + shift, 120 + shift, size),
        "neg": _dot(150 - shift, 200 + shift, size),
        "scribble": in_stroke & (np.abs(y - middle) <= 1),
        "big": ((y - 110) * 7) ** 2 + ((x - 140) * 5) ** 2 < 350**2,
        "ref": ((y - 120) * 7) ** 2 + ((x - 100) * 5) ** 2 < 35**2,
    }


def mask_of_pixels(pixels_yx: np.ndarray, height: int, width: int) -> np.ndarray:
    """A bool [H, W] mask that is True at the given (y, x) pixels, [N, 2]."""
    mask = np.zeros((height, width), bool)
    mask[pixels_yx[:, 0], pixels_yx[:, 1]] = True
    return mask


def _dot(y: int, x: int, size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[y - 1 : y + 2, x - 1 : x + 2] = True
    return mask
