"""Everything frozen models say of a data set, on disk: read on every start but the first.

An entry is named by the hash of all that it was made from: the picture's bytes, the size, the
weights of the model. What changes is another entry, so nothing is ever stale, runs may share a
folder, and any of it can be deleted.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from grounding.errors import CheckpointError
from grounding.files import write_files
from pipelines.generation.text import Notice, TextReader, Words
from weights.base import BaseModel
from weights.image_encoder import ImageEncoder
from weights.own_folder import state_digest

__all__ = ["Cache", "CachedImages", "CachedReader"]


class Cache:
    """A folder of entries.

    Args:
        folder: Made when there is something to keep.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, kind: str, made_from: Any, suffix: str, make: Callable[[], bytes]) -> Path:
        """The path of an entry, made if it is not there.

        Args:
            kind: Of the entries that one thing makes; a folder.
            made_from: All that the entry depends on, as JSON has it.
            suffix: Of the file's name.
            make: Returns the file's bytes.
        """
        name = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
        path = self.folder / kind / name[:2] / f"{name}{suffix}"
        if not path.is_file():
            write_files({path: make()}, synced=False)
        return path

    def keep(self, kind: str, made_from: Any, make: Callable[[], Mapping[str, Tensor]]) -> Path:
        """The path of an entry of tensors by name, float16; made if it is not there."""

        def content() -> bytes:
            return save({k: v.detach().cpu().half().contiguous() for k, v in make().items()})

        return self.file(kind, made_from, ".safetensors", content)

    def tensors(
        self, kind: str, made_from: Any, make: Callable[[], Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Read such an entry, in float32; the same whether it was there or not.

        Raises:
            CheckpointError: it is damaged.
        """
        path = self.keep(kind, made_from, make)
        try:
            return {name: value.float() for name, value in load(path.read_bytes()).items()}
        except SafetensorError as error:
            raise CheckpointError(f"{path}: damaged ({error}); delete it") from None


class CachedReader(TextReader):
    """A text reader that reads every text once."""

    cache: Cache
    digest: str
    _phrases: dict[str, Tensor]

    @classmethod
    def cached(cls, base: BaseModel, cache: Cache) -> "CachedReader":
        """The reader of a base."""
        reader = cls.of(base)
        assert isinstance(reader, CachedReader)
        encoders = [one for one in (base.text_encoder, base.text_encoder_2) if one is not None]
        reader.cache = cache
        reader.digest = " ".join(state_digest(encoder.state_dict()) for encoder in encoders)
        reader._phrases = {}
        return reader

    def prompt(self, text: str, notice: Notice, size: tuple[int, int]) -> Words:
        """As `TextReader.prompt`; in float32 on the CPU."""
        made_from, make = self._prompt(text, notice, size)
        return _words(self.cache.tensors("texts", made_from, make))

    def keep_prompt(self, text: str, notice: Notice, size: tuple[int, int]) -> None:
        """See to it that a prompt is in the cache."""
        self.cache.keep("texts", *self._prompt(text, notice, size))

    def without_caption(self, size: tuple[int, int], notice: Notice) -> Words:
        """What stands for a caption that is dropped: the empty negative prompt."""

        def make() -> dict[str, Tensor]:
            words = TextReader.negative(self, "", notice, size)
            return {"context": words.context, **words.added}

        made_from = ["negative", self.digest, self._told(size)]
        return _words(self.cache.tensors("texts", made_from, make))

    def phrase(self, text: str, notice: Notice) -> Tensor:
        """As `TextReader.phrase`; in float32 on the CPU."""
        if text not in self._phrases:
            self._phrases[text] = self.cache.tensors(
                "texts",
                ["phrase", self.digest, text],
                lambda: {"phrase": super(CachedReader, self).phrase(text, notice)},
            )["phrase"]
        return self._phrases[text]

    def _prompt(
        self, text: str, notice: Notice, size: tuple[int, int]
    ) -> tuple[Any, Callable[[], dict[str, Tensor]]]:
        """What an encoded prompt depends on, and how it is made."""

        def make() -> dict[str, Tensor]:
            words = super(CachedReader, self).prompt(text, notice, size)
            return {"context": words.context, **words.added}

        return ["prompt", self.digest, text, self._told(size)], make

    def _told(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """The size, for a base that is told it (SDXL)."""
        return size if self.second else None


def _words(found: dict[str, Tensor]) -> Words:
    return Words(context=found.pop("context"), added=found)


class CachedImages:
    """An image encoder that reads every picture once.

    Args:
        encoder: What reads it.
        cache: Where its features are kept.
    """

    def __init__(self, encoder: ImageEncoder, cache: Cache) -> None:
        self.encoder, self.cache = encoder, cache
        self.digest = state_digest(encoder.model.state_dict() | {"project": encoder.projection})
        self.speaks_phrases = encoder.speaks_phrases

    def __call__(self, picture: Any) -> Tensor:
        """As `ImageEncoder`; in float32 on the CPU."""
        pixels = hashlib.sha256(picture.tobytes()).hexdigest()
        return self.cache.tensors(
            "features",
            [self.digest, picture.size, pixels],
            lambda: {"feature": self.encoder(picture)},
        )["feature"]
