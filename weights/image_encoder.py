"""CLIP's image tower as GLIGEN reads it: what a region's reference picture shows, as one vector.

GLIGEN learnt to read *texts* of CLIP before their projection. A picture's embedding comes after
one, so it is sent back through CLIP's text projection and given the length that texts have
(official code, gligen_inference.py; arXiv 2301.07093, section 3.2):

    feature = 28.7 * e / |e|,  e = projection(image embedding)

Where it can come from: a folder with `image_encoder/` (a CLIPVisionModelWithProjection of
transformers) and `image_project/` (diffusers) or `projection_matrix` (the official file).

An encoder that was taught to give the embedding of a phrase (`gligen.train.image_encoder`) says so
in its config: `phrase_length`, that of its adapter's phrases. Its features can stand in the place
of phrases, so that an adapter for text takes pictures too.
Axes: n pictures, V channels of a feature.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from jaxtyping import Float
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from grounding.clip_pixels import clip_pixels
from grounding.errors import CheckpointError, OfflineError
from weights.components import fill, read_config, read_folder
from weights.hub import fetch_adapter
from weights.pickles import read_pickle
from weights.registry import EMBEDDED, embedded

__all__ = [
    "ENCODER",
    "TEXT_NORM",
    "ImageEncoder",
    "clip_pixels",
    "find_image_encoder",
    "find_phrase_encoder",
    "load_image_encoder",
    "load_vision_tower",
    "read_vision_config",
    "save_phrase_encoder",
]

TEXT_NORM = 28.7  # length of CLIP-L's pooled texts; GLIGEN, gligen_inference.py
PHRASE_LENGTH = "phrase_length"  # in the config of an encoder that speaks phrases
ENCODER, PROJECT, MATRIX = "image_encoder", "image_project", "projection_matrix"
NOT_PICTURES = ("text_model.", "text_projection.", "logit_scale")  # the rest of a whole CLIP


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageEncoder:
    """Reads reference pictures.

    Attributes:
        model: CLIP's image tower.
        projection: [V, V]; a feature is `projection @ image embedding`, as a linear layer does.
        length: of a feature.
        speaks_phrases: whether a feature can stand in the place of a phrase's embedding.
    """

    model: Any  # CLIPVisionModelWithProjection
    projection: Tensor
    length: float = TEXT_NORM
    speaks_phrases: bool = False

    @torch.inference_mode()
    def __call__(self, picture: Image.Image) -> Float[Tensor, "1 V"]:
        """What one picture shows, in the dtype and on the device of the encoder.

        Pictures are encoded one by one, so a feature never depends on its neighbours.
        """
        pixels = clip_pixels(picture, self.model.config.image_size)
        seen = self.model(pixels.to(self.projection)).image_embeds
        feature = torch.nn.functional.linear(seen, self.projection)
        return self.length * feature / feature.norm(dim=-1, keepdim=True)


def load_image_encoder(
    source: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    offline: bool = False,
) -> ImageEncoder:
    """Load an image encoder, strictly.

    Args:
        source: A folder that holds one, a file beside one, or a hub id.
        device: Where it is to be.
        dtype: Of its parameters.
        offline: Never use the network.

    Raises:
        CheckpointError: There is none, or it is incomplete or damaged.
        OfflineError: It must be downloaded and cannot be.
    """
    folder = _folder_of(_local(source, offline))
    if folder is None:
        raise CheckpointError(
            f"{source}: has no image encoder: expected {ENCODER}/ and {PROJECT}/ or "
            f"{MATRIX}, as in the folder of a diffusers pipeline for GLIGEN text+image"
        )
    model = load_vision_tower(folder / ENCODER, device=device, dtype=dtype)
    projection = _projection(folder, int(model.config.projection_dim))
    length = read_config(folder / ENCODER / "config.json").get(PHRASE_LENGTH)
    return ImageEncoder(
        model=model,
        projection=projection.to(device=device, dtype=dtype),
        length=TEXT_NORM if length is None else float(length),
        speaks_phrases=length is not None,
    )


def load_vision_tower(
    folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> CLIPVisionModelWithProjection:
    """Load CLIP's image tower from its folder, strictly; of a whole CLIP only that half.

    Raises:
        CheckpointError: There is none, or it is incomplete or damaged.
    """
    with init_empty_weights(include_buffers=False):
        model = CLIPVisionModelWithProjection(read_vision_config(folder))
    state = {
        key: value
        for key, value in read_folder(folder).items()
        if not key.startswith(NOT_PICTURES) and not key.endswith("embeddings.position_ids")
    }
    return fill(model, state, str(folder), device=device, dtype=dtype)


def read_vision_config(folder: Path) -> CLIPVisionConfig:
    """Read the sizes of CLIP's image tower; of a whole CLIP those of that half.

    Raises:
        CheckpointError: No config, or not a JSON object.
    """
    config = read_config(folder / "config.json")
    vision = config.get("vision_config", config)
    return CLIPVisionConfig.from_dict({**_plain(config), **_plain(vision)})


def find_image_encoder(
    source: str | Path | None,
    others: Iterable[str | Path | None],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    offline: bool = False,
) -> ImageEncoder | None:
    """Load the image encoder that is asked for, or else the first that others came with.

    Args:
        source: Where it must be; None: anywhere.
        others: An adapter and a model that are loaded already, by path, name or hub id.
        device: As for `load_image_encoder`.
        dtype: The same.
        offline: The same.

    Returns:
        None if nothing is asked for and nothing found.

    Raises:
        CheckpointError: What is asked for or found is incomplete or damaged.
        OfflineError: It must be downloaded and cannot be.
    """
    place: dict[str, Any] = {"device": device, "dtype": dtype, "offline": offline}
    if source is not None:
        return load_image_encoder(source, **place)
    for other in others:
        if other is None:
            continue
        try:
            folder = _folder_of(_local(other, offline))
        except (CheckpointError, OfflineError):
            continue  # a base on the hub holds no adapter
        if folder is not None:
            return load_image_encoder(folder, **place)
    return None


def find_phrase_encoder(
    adapter: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> ImageEncoder | None:
    """Load the encoder beside an adapter for text whose features can stand in a phrase's place.

    Args:
        adapter: As it was loaded; only a folder on this machine can have such an encoder.
        device: As for `load_image_encoder`.
        dtype: The same.

    Returns:
        None if there is none.

    Raises:
        CheckpointError: It is incomplete or damaged.
    """
    path = embedded("gligen") if str(adapter) == EMBEDDED else Path(adapter)
    config = path / ENCODER / "config.json"
    if not config.is_file() or PHRASE_LENGTH not in read_config(config):
        return None
    return load_image_encoder(path, device=device, dtype=dtype)


def save_phrase_encoder(
    model: CLIPVisionModelWithProjection, folder: Path, *, length: float
) -> None:
    """Write an encoder that was taught to give the embeddings of phrases beside their adapter.

    Args:
        model: What `gligen.train.image_encoder` trained.
        folder: The adapter's.
        length: Of the phrases' embeddings.
    """
    setattr(model.config, PHRASE_LENGTH, length)
    model.save_pretrained(folder / ENCODER)
    (folder / PROJECT).mkdir(exist_ok=True)
    width = int(model.config.projection_dim)
    identity = {"project.weight": torch.eye(width, dtype=model.dtype)}
    save_file(identity, folder / PROJECT / "model.safetensors")


def _local(source: str | Path, offline: bool) -> Path:
    """Where a source is on this machine."""
    if str(source) == EMBEDDED:
        return embedded("gligen")
    return Path(source) if Path(source).exists() else fetch_adapter(str(source), offline=offline)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what names types and other towers."""
    skipped = ("dtype", "torch_dtype", "vision_config", "text_config", "model_type")
    return {key: value for key, value in config.items() if key not in skipped}


def _folder_of(path: Path) -> Path | None:
    """The folder that holds the encoder: the path, or, for a part of a pipeline, its parent."""
    for folder in (path, path.parent):
        if (folder / ENCODER / "config.json").is_file():
            return folder
    return None


def _projection(folder: Path, width: int) -> Tensor:
    """The matrix of `image_project/`, or the official file's, which is its transpose."""
    if (folder / PROJECT).is_dir():
        state = read_folder(folder / PROJECT)
        names, matrix, where = list(state), state.get("project.weight"), folder / PROJECT
        if names != ["project.weight"]:
            raise CheckpointError(f"{where}: expected project.weight alone, got {names[:3]}")
    elif (folder / MATRIX).is_file():
        where = folder / MATRIX
        read = read_pickle(where)
        matrix = read.T if isinstance(read, Tensor) and read.dim() == 2 else None
    else:
        raise CheckpointError(f"{folder}: has {ENCODER}/, but neither {PROJECT}/ nor {MATRIX}")
    if matrix is None or tuple(matrix.shape) != (width, width):
        got = "no matrix" if matrix is None else tuple(matrix.shape)
        raise CheckpointError(f"{where}: expected a matrix of {(width, width)}, got {got}")
    return matrix.detach()
