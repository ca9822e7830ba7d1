"""Vectors of class names, kept on disk: a text encoder reads a name once, not in every process.

A vector is the mean of many sentences about a class (`seem.vocabulary`); COCO's 134 names are
10,854 sentences. Each vector has a file of its own, so that processes need not wait for one another
and single names serve any list of classes:

    FOLDER/DIGEST OF THE MODEL'S SIDE/DIGEST OF THE NAME'S.safetensors

The first is that of the text encoder's parameters (names, types, bits), the sentences, what the
tokenizer makes of them, the kind of device, and `ENCODING_VERSION`; the second that of the name's
own tokens. A file that is damaged, or another's, is written anew; a folder that cannot be written
is done without.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from grounding.errors import OutputError
from grounding.files import write_files
from seem.text_encoder import TextEncoder
from weights.own_folder import state_digest

__all__ = ["ClassVectors"]

FORMAT = "lavallama-class-vector"
ENCODING_VERSION = 2  # of how `seem` turns names into vectors: another one makes all files useless
PROBE = "thing"  # stands in all sentences to see what the tokenizer makes of them
MOST_NAMES = 20_000  # of a model: about 50 MB

log = logging.getLogger(__name__)


class ClassVectors:
    """The vectors that one model's names have been given before (`seem.words.Kept`)."""

    def __init__(
        self,
        folder: Path,
        encoder: TextEncoder,
        tokenizer: Callable[..., Any],
        templates: Sequence[str],
    ) -> None:
        """Look at nothing yet.

        Args:
            folder: Of all models' vectors; is made when there is something to keep.
            encoder: Whose parameters do not change any more.
            tokenizer: Of its words.
            templates: The sentences that names stand in.
        """
        self.folder, self.encoder, self.tokenizer = folder, encoder, tokenizer
        self.templates = tuple(templates)

    def recall(self, name: str) -> Float[Tensor, " C"] | None:
        """The vector that a name was given; None: it is not here."""
        path = self._path(name)
        wanted = self.encoder.projection
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                about, vector = file.metadata() or {}, file.get_tensor("vector")
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError, KeyError):
            log.debug("%s: cannot be read; it is made anew", path)
            return None
        fits = vector.shape == wanted.shape[1:] and vector.dtype == wanted.dtype
        if not fits or about != _about(path, vector):
            log.debug("%s: is another's or damaged; it is made anew", path)
            return None
        return vector.to(wanted.device)

    def keep(self, name: str, vector: Float[Tensor, " C"]) -> None:
        """Write a name's vector; where that cannot be done, say so once and go on."""
        if self._full:
            return
        path, plain = self._path(name), vector.detach().cpu().contiguous()
        data = save({"vector": plain}, metadata=_about(path, plain))
        try:
            write_files({path: data}, synced=False)
        except OutputError as error:
            self._full = True
            log.warning("class names are encoded in every run: %s", error)

    @cached_property
    def _home(self) -> Path:
        sentences = [template.format(PROBE) for template in self.templates]
        encoder = self.encoder
        parts = (
            ENCODING_VERSION,
            state_digest(encoder.state_dict()),
            self.templates,
            self.tokenizer(sentences, padding=True, return_tensors="pt")["input_ids"].tolist(),
            encoder.projection.device.type,
        )
        return self.folder / _digest(repr(parts))

    @cached_property
    def _full(self) -> bool:
        """Whether no more is kept; set where nothing can be."""
        try:
            return sum(1 for _ in self._home.iterdir()) >= MOST_NAMES
        except OSError:
            return False

    def _path(self, name: str) -> Path:
        sentence = self.templates[0].format(name)
        read = self.tokenizer([sentence], padding=True, return_tensors="pt")["input_ids"]
        return self._home / f"{_digest(repr(read.tolist()))}.safetensors"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _about(path: Path, vector: Tensor) -> dict[str, str]:
    """What a file says of itself: whose it is, and the hash of what it holds."""
    data = vector.view(torch.uint8).numpy().tobytes()
    return {
        "format": FORMAT,
        "of": f"{path.parent.name}/{path.stem}",
        "sha256": hashlib.sha256(data).hexdigest(),
    }
