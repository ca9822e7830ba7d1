"""CLIP: texts and pictures in one space (Radford et al., arXiv 2103.00020).

A model is a folder, or a repository of the hub, in transformers' layout of CLIPModel.
Axes: N items, C channels of the space.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from grounding.clip_pixels import clip_pixels
from grounding.embedder import Modality, check_modality, modality_of
from grounding.errors import CheckpointError, PromptError
from weights.choose import choose_part
from weights.components import fill, read_config, read_folder
from weights.hub import fetch_files
from weights.own_folder import state_digest
from weights.tokenizer import load_tokenizer

__all__ = ["Clip", "choose_clip", "load_clip"]

WORDS = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """An embedder (`grounding.embedder`) of texts and pictures.

    Attributes:
        name: What the model is called.
        model: CLIPModel of transformers.
        tokenizer: Its tokenizer.
    """

    name: str
    model: Any
    tokenizer: Any
    modalities: frozenset[Modality] = frozenset({"text", "image"})

    @property
    def fingerprint(self) -> str:
        """A hash of the parameters."""
        return state_digest(self.model.state_dict())

    @property
    def scale(self) -> float:
        """The learned inverse temperature (section 2.3)."""
        return float(self.model.logit_scale.exp())

    @torch.inference_mode()
    def embed(self, items: Sequence[str | Image.Image]) -> Float[Tensor, "N C"]:
        """Embed texts and pictures, each by itself.

        Raises:
            PromptError: A text is empty or too long, or something is neither.
        """
        return torch.cat([self._embed(item) for item in items])

    def _embed(self, item: str | Image.Image) -> Float[Tensor, "1 C"]:
        check_modality(self, modality_of(item))
        like = self.model.logit_scale
        if isinstance(item, str):
            ids = self._ids(item).to(like.device)
            vector = self.model.text_projection(self.model.text_model(ids).pooler_output)
        else:
            pixels = clip_pixels(item, self.model.config.vision_config.image_size).to(like)
            vector = self.model.visual_projection(self.model.vision_model(pixels).pooler_output)
        return torch.nn.functional.normalize(vector.float().cpu(), dim=-1)

    def _ids(self, text: str) -> Tensor:
        if not text.strip():
            raise PromptError("a text must have at least one word; got an empty one")
        ids = self.tokenizer(text, return_tensors="pt").input_ids
        room = self.model.config.text_config.max_position_embeddings
        if ids.shape[1] > room:
            raise PromptError(
                f"{text!r:.60} has {ids.shape[1]} tokens, {self.name} reads {room}: say it shorter"
            )
        return ids


def load_clip(
    source: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    offline: bool = False,
) -> Clip:
    """Load a CLIP with its tokenizer, strictly.

    Args:
        source: A folder or a hub id, such as "openai/clip-vit-base-patch32".
        device: Where it is to be.
        dtype: Of its parameters.
        offline: Never use the network.

    Raises:
        CheckpointError: It is none, or incomplete or damaged.
        OfflineError: It must be downloaded and cannot be.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = fetch_files(str(source), choose_clip, offline=offline)
    config = read_config(folder / "config.json")
    if config.get("model_type") != "clip":
        raise CheckpointError(
            f"{source}: expected a model of type clip, got {config.get('model_type')!r}"
        )
    with init_empty_weights(include_buffers=False):
        model = CLIPModel(CLIPConfig.from_dict(config))
    state = {
        key: value
        for key, value in read_folder(folder).items()
        if not key.endswith("embeddings.position_ids")
    }
    filled = fill(model, state, str(source), device=device, dtype=dtype)
    return Clip(name=str(source), model=filled, tokenizer=load_tokenizer(folder))


def choose_clip(files: Iterable[str]) -> list[str]:
    """Choose the config, one set of weights and the tokenizer of a repository."""
    files = list(files)
    part = choose_part(files)
    return [*part, *(file for file in WORDS if file in files)] if part else []
