"""Maps of the whole canvas: from a picture file to what an adapter reads.

| modality       | the picture                  | what is read              |
|----------------|------------------------------|---------------------------|
| hed, canny     | bright edges on black        | grey, [0, 1]              |
| depth          | grey                         | grey, [-1, 1]             |
| normal         | x, y, z as red, green, blue  | three channels, [-1, 1]   |
| sem            | a class index for each pixel | a channel for each class  |

Axes: M channels of the map, H x W pixels of the picture to be drawn.
"""

import cv2
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from gligen.config import AdapterConfig
from grounding.document_paths import DATA_URI
from grounding.errors import PromptError
from grounding.picture_file import as_seen, is_sixteen_bits, open_upright
from grounding.prompt import GroundedPrompt
from pipelines.generation.source_picture import FOLLOWS_EDGES, read_picture

__all__ = ["MAP_FIELDS", "SIXTEEN_BITS", "canny_edges", "read_map", "read_map_picture"]

MAP_FIELDS = {  # modality -> field of a document's maps
    "hed": "hed",
    "canny": "canny",
    "depth": "depth",
    "normal": "normal",
    "sem": "semantic",
}
SIGNED = ("depth", "normal")  # read in [-1, 1]; the others in [0, 1]
CANNY_LOW, CANNY_HIGH = 100, 200  # GLIGEN, dataset preparation; Canny, PAMI 1986
COLOURS = 3
SIXTEEN_BITS = 65535


def read_map(
    config: AdapterConfig, document: GroundedPrompt, photo: str | None, size: tuple[int, int]
) -> Float[Tensor, "1 M H W"] | None:
    """The map that a document asks to follow, scaled to the picture that is drawn.

    Args:
        config: of an adapter that reads maps.
        document: its maps are looked at, and nothing else.
        photo: a picture whose edges stand for a map that is not there ("canny" only).
        size: (width, height) of the picture to be drawn.

    Returns:
        float32, or None if there is nothing to follow.

    Raises:
        PromptError: the map cannot be read, or is not of the kind that is needed.
    """
    assert config.map is not None
    name = getattr(document.maps, MAP_FIELDS[config.modality])
    if name is None:
        if config.modality != FOLLOWS_EDGES or photo is None:
            return None
        return _tensor(canny_edges(read_picture(photo).resize(size, Image.Resampling.LANCZOS)))
    if config.modality == "sem":
        return _classes(name, config.map.channels, size)
    values = _tensor(np.asarray(read_map_picture(name, config.modality, size)))
    return 2 * values - 1 if config.modality in SIGNED else values


def read_map_picture(name: str, modality: str, size: tuple[int, int]) -> Image.Image:
    """Read the picture of a map: RGB of normals; of others grey, or floats, [0, 1], of 16 bits.

    Args:
        name: of its file, or a data URI.
        modality: of the adapter, but for "sem".
        size: (width, height) that it is scaled to.

    Raises:
        PromptError: it cannot be read.
    """
    if modality == "normal" or name.startswith(DATA_URI) or "://" in name:
        picture = read_picture(name)
    else:
        picture = open_upright(name)
        if is_sixteen_bits(picture):  # not by way of 8 bits: depth maps need all of them
            values = Image.fromarray(np.asarray(picture, np.float32) / SIXTEEN_BITS)
            return values.resize(size, Image.Resampling.BILINEAR)
        picture = as_seen(picture, name)
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    return picture if modality == "normal" else picture.convert("L")


def canny_edges(picture: Image.Image) -> np.ndarray:
    """Edges of a picture, uint8 [H, W], 255 on an edge."""
    return cv2.Canny(np.asarray(picture.convert("L")), CANNY_LOW, CANNY_HIGH)


def _tensor(pixels: np.ndarray) -> Tensor:
    """[H, W] or [H, W, 3] of 8 bits, or of floats in [0, 1], to [1, 3, H, W] in [0, 1]."""
    most = 255 if pixels.dtype == np.uint8 else 1
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], COLOURS, axis=-1)
    return torch.from_numpy(pixels.astype(np.float32) / most).permute(2, 0, 1)[None]


def _classes(name: str, count: int, size: tuple[int, int]) -> Tensor:
    """One channel for each class, 1 where a pixel is of it."""
    image = open_upright(name)
    mode = image.mode
    indices = image.resize(size, Image.Resampling.NEAREST)
    if mode not in ("L", "P"):
        raise PromptError(
            f"{name}: a map of classes holds one index a pixel (mode L or P); got the mode {mode}"
        )
    labels = np.asarray(indices)
    if labels.max() >= count:
        raise PromptError(
            f"{name}: classes are numbered from 0 to {count - 1}; got {int(labels.max())}"
        )
    grid = torch.from_numpy(labels.astype(np.int64))
    return torch.nn.functional.one_hot(grid, count).permute(2, 0, 1)[None].float()
