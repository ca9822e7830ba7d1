"""CLIP's tokenizer, from a folder or the hub: transformers' own, or a quick one for sentences."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from grounding.errors import CheckpointError
from weights.hub import fetch_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import CLIPTokenizer

__all__ = [
    "DeferredTokenizer",
    "SentenceTokenizer",
    "defer_tokenizer",
    "load_sentence_tokenizer",
    "load_tokenizer",
]

FAST_FILES = ("tokenizer.json", "tokenizer_config.json")
SLOW_FILES = ("vocab.json", "merges.txt")


class SentenceTokenizer:
    """What SEEM asks of a CLIP tokenizer, without the import of transformers, which takes long.

    Attributes:
        folder: Where its files are.
    """

    def __init__(self, tokenizer: Tokenizer, folder: Path, *, pad: str) -> None:
        """Wrap a tokenizer.

        Args:
            tokenizer: Adds the start and the end of text by itself.
            folder: Where it was read from.
            pad: The token that fills up shorter sentences.
        """
        self.folder = folder
        self._tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.enable_padding(pad_id=tokenizer.token_to_id(pad), pad_token=pad)

    def __call__(
        self, sentences: Sequence[str], *, padding: bool = True, return_tensors: str = "pt"
    ) -> dict[str, Tensor]:
        """Tokenize sentences, padded to the longest.

        Args:
            sentences: At least one.
            padding: Always so; given as to transformers' tokenizers.
            return_tensors: "pt", likewise.

        Returns:
            `input_ids` and `attention_mask`, int64 (sentences, tokens).
        """
        read = self._tokenizer.encode_batch(list(sentences))
        return {
            "input_ids": torch.tensor([one.ids for one in read]),
            "attention_mask": torch.tensor([one.attention_mask for one in read]),
        }

    def save_pretrained(self, folder: str | Path) -> None:
        """Write its files into a folder."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name in FAST_FILES:
            shutil.copyfile(self.folder / name, Path(folder) / name)


def load_sentence_tokenizer(
    source: str | Path, *, offline: bool = False
) -> SentenceTokenizer | CLIPTokenizer:
    """Load a CLIP tokenizer for whole sentences; quickly where the folder has `tokenizer.json`.

    Args and Raises: as for `load_tokenizer`.
    """
    folder = _find(source, offline=offline)
    if not all((folder / name).is_file() for name in FAST_FILES):
        return load_tokenizer(folder)
    from tokenizers import Tokenizer

    try:
        pad = json.loads((folder / FAST_FILES[1]).read_text("utf-8")).get("pad_token")
        pad = pad.get("content") if isinstance(pad, dict) else pad
        if pad is not None:
            inner = Tokenizer.from_file(str(folder / FAST_FILES[0]))
            return SentenceTokenizer(inner, folder, pad=pad)
    except Exception as error:
        raise _damaged(folder, error) from error
    return load_tokenizer(folder)  # the token stands in another file, or is the usual one


class DeferredTokenizer:
    """A tokenizer whose files are read when the first text comes: a click needs none."""

    def __init__(self, folder: Path) -> None:
        """Read nothing yet of a folder that holds a tokenizer's files."""
        self.folder = folder

    @cached_property
    def loaded(self) -> SentenceTokenizer | CLIPTokenizer:
        """The tokenizer itself.

        Raises:
            CheckpointError: Its files are damaged.
        """
        return load_sentence_tokenizer(self.folder)

    def __call__(self, sentences: Any, **options: Any) -> Any:
        """Tokenize, as the tokenizer itself does."""
        return self.loaded(sentences, **options)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write its files into a folder."""
        self.loaded.save_pretrained(folder)


def defer_tokenizer(source: str | Path, *, offline: bool = False) -> DeferredTokenizer:
    """Find a CLIP tokenizer for whole sentences, and read it later.

    Args and Raises: as for `load_tokenizer`.
    """
    return DeferredTokenizer(_find(source, offline=offline))


def load_tokenizer(source: str | Path, *, offline: bool = False) -> CLIPTokenizer:
    """Load a CLIP tokenizer from a folder or a hub id.

    Raises:
        CheckpointError: The folder does not hold one.
        OfflineError: It must be downloaded and cannot be.
    """
    folder = _find(source, offline=offline)
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        raise _damaged(folder, error) from error


def _find(source: str | Path, *, offline: bool) -> Path:
    folder = Path(source)
    if not folder.is_dir():
        folder = fetch_tokenizer(str(source), offline=offline)
    has_slow = all((folder / name).is_file() for name in SLOW_FILES)
    if not (folder / FAST_FILES[0]).is_file() and not has_slow:
        raise CheckpointError(f"{folder}: expected a CLIP tokenizer ({' and '.join(SLOW_FILES)})")
    return folder


def _damaged(folder: Path, error: Exception) -> CheckpointError:
    """Tell of a damaged file; the tokenizers library raises bare exceptions for them."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return CheckpointError(f"{folder}: not a CLIP tokenizer ({line})")
