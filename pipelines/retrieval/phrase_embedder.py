"""The embedded embedder: phrases and pictures of stickers, in the space of the gates' phrases.

The embedded adapter reads a phrase as its text encoder pools it, and reference pictures through an
encoder that was taught to give the same vectors (`weights.image_encoder`). So the two are a small
CLIP of the sticker world: of phrases, such as "lava llama", and of pictures of single things.
Axes: N items, C channels of a phrase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from grounding.embedder import Modality, check_modality, modality_of
from grounding.errors import CheckpointError, PromptError
from pipelines.generation.text import TextReader
from weights.components import fill, make_text_encoder, read_config, read_folder
from weights.image_encoder import ImageEncoder, find_phrase_encoder
from weights.own_folder import state_digest
from weights.registry import EMBEDDED, embedded
from weights.tokenizer import load_tokenizer

__all__ = ["PhraseEmbedder", "open_phrase_embedder"]

SCALE = 30.0  # the least cross-entropy of 5 to 150, on crops of scenes with pairs from training


@dataclass(frozen=True, kw_only=True, eq=False)
class PhraseEmbedder:
    """An embedder (`grounding.embedder`) of phrases and pictures of what they name.

    Attributes:
        reader: Of phrases.
        encoder: Of pictures.
    """

    reader: TextReader
    encoder: ImageEncoder
    name: str = EMBEDDED
    modalities: frozenset[Modality] = frozenset({"text", "image"})
    scale: float = SCALE

    @property
    def fingerprint(self) -> str:
        """A hash of the parameters."""
        parts = {"text": self.reader.first.model, "image": self.encoder.model}
        states = {
            f"{part}.{key}": tensor
            for part, model in parts.items()
            for key, tensor in model.state_dict().items()
        }
        return state_digest(states)

    @torch.inference_mode()
    def embed(self, items: Sequence[str | Image.Image]) -> Float[Tensor, "N C"]:
        """Embed phrases and pictures, each by itself.

        Raises:
            PromptError: A phrase is empty or too long, or something is neither.
        """
        return torch.cat([self._embed(item) for item in items])

    def _embed(self, item: str | Image.Image) -> Float[Tensor, "1 C"]:
        check_modality(self, modality_of(item))
        if isinstance(item, str) and not item.strip():
            raise PromptError("a text must have at least one word; got an empty one")
        vector = self.reader.phrase(item, _refuse) if isinstance(item, str) else self.encoder(item)
        return torch.nn.functional.normalize(vector.float().cpu(), dim=-1)


def open_phrase_embedder(device: torch.device | str = "cpu") -> PhraseEmbedder:
    """Open the embedded embedder, in float32.

    Args:
        device: Where it is to be.

    Raises:
        CheckpointError: This installation came without it.
    """
    encoder = find_phrase_encoder(EMBEDDED, device=device)
    if encoder is None:
        raise CheckpointError(
            "this installation has no embedded model of texts and pictures: name a CLIP with "
            "--model, such as openai/clip-vit-base-patch32"
        )
    folder = embedded("base") / "text_encoder"
    model = fill(
        make_text_encoder(read_config(folder / "config.json")),
        read_folder(folder),
        str(folder),
        device=device,
        dtype=torch.float32,
    )
    return PhraseEmbedder(
        reader=TextReader(load_tokenizer(embedded("base") / "tokenizer"), model), encoder=encoder
    )


def _refuse(message: str) -> None:
    raise PromptError(message)
