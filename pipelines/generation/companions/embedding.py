"""Textual inversion: words of one's own, learnt as vectors of the text encoder's vocabulary.

(Gal et al., "An Image is Worth One Word", arXiv 2208.01618.) A word of several vectors is spelled
as several tokens in a row: "<toy>" becomes "<toy> <toy>_1 <toy>_2" before the tokenizer sees it.

| layout                | what the file holds                                            |
|-----------------------|----------------------------------------------------------------|
| diffusers, InvokeAI   | {word: [D] or [n, D]}                                          |
| original, A1111       | {"string_to_param": {"*": [n, D]}, "name": word}               |
| kohya                 | {"emb_params": [n, D]}                                         |
| SDXL (A1111, ComfyUI) | {"clip_l": [n, D], "clip_g": [n, E]}, one for each text encoder|
| SDXL (diffusers)      | {"text_encoders_0": [n, D], "text_encoders_1": [n, E]}         |
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from tokenizers import AddedToken
from torch import Tensor, nn

from grounding.errors import CheckpointError, PromptError
from weights.base import BaseModel
from weights.families import EMBEDDING, describe
from weights.hub import fetch_files
from weights.keymap import name_some
from weights.tensor_file import PICKLE_SUFFIXES, TensorFile

__all__ = ["Embedding"]

STANDARD_FILES = ("learned_embeds.safetensors", "learned_embeds.bin")  # diffusers' trainer
ENCODERS = (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1"))  # names by encoder
PARAMETERS = "string_to_param."
OWNERS = {
    (768,): "Stable Diffusion 1.x",
    (1024,): "Stable Diffusion 2.x",
    (768, 1280): "Stable Diffusion XL",
}
MAX_VECTORS = 75  # tokens that CLIP reads beside the two that open and close a text
IGNORED = ("string_to_token.",)  # A1111: the token that was replaced while it was learnt


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding:
    """One word and what it means.

    Attributes:
        asked: as the user wrote it: FILE or FILE=WORD.
        word: in prompts and phrases.
        vectors: one [n, D] for each text encoder of the base.
    """

    asked: str
    word: str
    vectors: tuple[Float[Tensor, "n D"], ...]

    @classmethod
    def load(cls, asked: str, base: BaseModel, *, offline: bool = False) -> Embedding:
        """Read an embedding for a base model.

        Args:
            asked: FILE or FILE=WORD; FILE may be a folder or hub id. Without a word the file's own
                name for it is taken, else the name of the file.
            base: what it must fit.
            offline: never use the network.

        Raises:
            CheckpointError: not an embedding, or one of another model.
            PromptError: the word is empty, or holds spaces.
            OfflineError: it must be downloaded and cannot be.
        """
        path, word = _resolved(asked, offline)
        file = TensorFile(path)
        names = _names(asked, file.shapes)
        if word is None and names[0].startswith(PARAMETERS):
            word = str(file.extra.get("name") or path.stem)
        elif word is None:
            known = {"emb_params", *(name for pair in ENCODERS for name in pair)}
            word = path.stem if names[0] in known else names[0]
        return cls.of(asked, file.read(names), base, word=word)

    @classmethod
    def of(
        cls, asked: str, tensors: Mapping[str, Tensor], base: BaseModel, *, word: str
    ) -> Embedding:
        """Take an embedding from its tensors, under the names of the table above.

        Args:
            asked: what it is called in messages.
            tensors: of one word.
            base: what it must fit.
            word: what prompts call it.

        Raises:
            CheckpointError: not an embedding, or one of another model.
            PromptError: the word is empty, or holds spaces.
        """
        names = _names(asked, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        if not word or re.search(r"\s", word):
            raise PromptError(f"{asked}: an embedding is one word, got {word!r}; give FILE=WORD")
        vectors = tuple(torch.atleast_2d(tensors[name]) for name in names)
        counts = {vector.shape[0] for vector in vectors}
        flat = all(vector.ndim == 2 and vector.is_floating_point() for vector in vectors)
        if not flat or len(counts) != 1 or not 1 <= counts.pop() <= MAX_VECTORS:
            raise CheckpointError(
                f"{asked}: an embedding is 1 to {MAX_VECTORS} vectors, got "
                f"{[list(vector.shape) for vector in vectors]}"
            )
        embedding = cls(asked=asked, word=word, vectors=vectors)
        embedding._check(base)
        return embedding

    def spelled(self, text: str) -> str:
        """A text with all tokens of this word where the word stands."""
        spelling = " ".join(self._tokens)
        return re.sub(rf"(?<!\w){re.escape(self.word)}(?!\w)", lambda _: spelling, text, flags=re.I)

    def attach(self, base: BaseModel) -> None:
        """Add the word to the tokenizers of a base and its vectors to the text encoders.

        Raises:
            CheckpointError: the tokenizer has such a word.
        """
        for (tokenizer, encoder), vectors in zip(_encoders(base), self.vectors, strict=True):
            known = tokenizer.get_vocab()
            taken = [token for token in self._tokens if token.lower() in known or token in known]
            if taken:
                raise CheckpointError(
                    f"{self.asked}: the tokenizer knows the word {taken[0]!r}; "
                    "give another: FILE=WORD"
                )
            tokenizer.add_tokens([AddedToken(token, single_word=True) for token in self._tokens])
            ids = tokenizer.convert_tokens_to_ids(list(self._tokens))
            _set_rows(encoder, ids, vectors)
            # Old configs end a text with its largest id, which is now one of these.
            encoder.config.eos_token_id = tokenizer.eos_token_id
            getattr(encoder, "text_model", encoder).eos_token_id = tokenizer.eos_token_id

    @property
    def _tokens(self) -> tuple[str, ...]:
        more = (f"{self.word}_{place}" for place in range(1, len(self.vectors[0])))
        return (self.word, *more)

    def _check(self, base: BaseModel) -> None:
        widths = [encoder.config.hidden_size for _, encoder in _encoders(base)]
        got = [vectors.shape[-1] for vectors in self.vectors]
        if got != widths:
            owner = OWNERS.get(tuple(got))
            raise CheckpointError(
                f"{self.asked}: this embedding{f' is for {owner}: it' if owner else ''} has "
                f"vectors of {got} channels, the text encoders of the model {widths}; take one "
                "made for this model"
            )


def _resolved(asked: str, offline: bool) -> tuple[Path, str | None]:
    """The file, and the word if one is given; a file whose name holds "=" is itself."""
    name, equals, word = asked.rpartition("=")
    if not equals or Path(asked).exists():
        name, word = asked, None
    path = Path(name)
    if not path.exists():
        path = fetch_files(name, _choose, offline=offline)
    if path.is_dir():
        chosen = _choose(sorted(one.name for one in path.iterdir() if one.is_file()))
        if not chosen:
            raise CheckpointError(
                f"{name}: expected an embedding in it, such as {STANDARD_FILES[0]}; name the file"
            )
        path = path / chosen[0]
    return path, word


def _choose(files: Collection[str]) -> list[str]:
    """The file that diffusers writes, else the only one there is."""
    for standard in STANDARD_FILES:
        if standard in files:
            return [standard]
    endings = (".safetensors", *PICKLE_SUFFIXES)
    weights = [file for file in files if file.endswith(endings) and "/" not in file]
    return weights if len(weights) == 1 else []


def _names(asked: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The names of a word's vectors, one for each text encoder."""
    keys = [key for key in shapes if not key.startswith(IGNORED)]
    for pair in ENCODERS:
        if set(keys) == set(pair):
            return pair
    if len(keys) == 1:
        return (keys[0],)
    what = describe(shapes)
    if what == EMBEDDING and any(key.startswith(PARAMETERS) for key in keys):
        words = [key.removeprefix(PARAMETERS) for key in keys]
        raise CheckpointError(f"{asked}: holds several words ({name_some(words)}), expected one")
    but = "" if what in (None, EMBEDDING) else f"{what}: "
    raise CheckpointError(
        f"{asked}: not an embedding of one word: expected one tensor, or "
        f"{' and '.join(ENCODERS[0])}, got {but}{name_some(keys) or 'none'}"
    )


def _encoders(base: BaseModel) -> list[tuple[Any, Any]]:
    """Tokenizer and text encoder, once or twice."""
    pairs = [(base.tokenizer, base.text_encoder), (base.tokenizer_2, base.text_encoder_2)]
    return [(tokenizer, encoder) for tokenizer, encoder in pairs if encoder is not None]


def _set_rows(encoder: Any, ids: list[int], vectors: Tensor) -> None:
    """Write vectors into the vocabulary, which grows if it must."""
    known = encoder.get_input_embeddings().weight
    rows = max(known.shape[0], max(ids) + 1)
    weight = known.new_zeros(rows, known.shape[1])
    weight[: known.shape[0]] = known
    weight[ids] = vectors.to(weight)
    encoder.set_input_embeddings(nn.Embedding.from_pretrained(weight, freeze=True))
    encoder.config.vocab_size = rows
