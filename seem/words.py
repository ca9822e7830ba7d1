"""Texts and class names as the decoder reads them, encoded once and remembered.

Axes: N sentences, K classes, C channels.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from grounding.errors import PromptError
from seem.prompt import TextTokens
from seem.text_encoder import TextEncoder
from seem.vocabulary import BACKGROUND, TEMPLATES, class_embeddings

__all__ = ["Kept", "Words", "plain_words"]

REMEMBERED = 1024  # texts, and class names: old ones are forgotten, memory stays flat
CLASSES = 4096
MARKS = " .,;:!?"  # that end a sentence, and mean nothing at the ends of a name


class Kept(Protocol):
    """Vectors of classes that outlive a process (`weights.class_vectors.ClassVectors`)."""

    def recall(self, name: str) -> Float[Tensor, " C"] | None:
        """The vector of a name; None: it was not kept."""
        ...

    def keep(self, name: str, vector: Float[Tensor, " C"]) -> None:
        """Keep the vector of a name."""
        ...


class Words:
    """A text encoder with its tokenizer and a memory of what it encoded.

    Each text is encoded by itself and without padding, so its tokens never depend on other texts.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        tokenizer: Callable[..., Any] | None,
        templates: Sequence[str] = TEMPLATES,
    ) -> None:
        """Join them.

        Args:
            encoder: SEEM's text encoder; its parameters must not change any more.
            tokenizer: CLIP's, such as transformers' `CLIPTokenizer`: called with sentences,
                `padding` and `return_tensors="pt"` it returns `input_ids` and `attention_mask`.
                None: nothing can be said in words.
            templates: The sentences that names of classes stand in.
        """
        self.encoder, self.tokenizer, self.templates = encoder, tokenizer, tuple(templates)
        self.kept: Kept | None = None
        self._texts: OrderedDict[str, TextTokens] = OrderedDict()
        self._classes: OrderedDict[str, Tensor] = OrderedDict()

    def text(self, text: str) -> TextTokens:
        """The tokens of one text.

        Raises:
            PromptError: it is empty or too long, or there is no tokenizer.
        """
        text = plain_words(text)
        if text not in self._texts:
            features = self.encoder(*self._read([text]))
            self._texts[text] = TextTokens(
                tokens=features.grounding_tokens, classes=features.embeddings
            )
        return _recall(self._texts, text, REMEMBERED)

    def classes(self, names: Sequence[str]) -> Float[Tensor, "K+1 C"]:
        """The vectors of classes, and of "background", which stands last.

        Raises:
            PromptError: there are none, or one is empty, or there is no tokenizer.
        """
        if isinstance(names, str) or not names:
            raise PromptError(f"classes must be a list of at least one name; got {names!r:.60}")
        plain = list(map(plain_words, (*names, BACKGROUND)))
        known = {name: self._known(name) for name in dict.fromkeys(plain)}
        vectors = {name: vector for name, vector in known.items() if vector is not None}
        new = [name for name in known if name not in vectors]
        for name in tqdm(new, desc="classes", leave=False, disable=None if len(new) > 1 else True):
            vectors[name] = class_embeddings([name], self._vectors, self.templates)[0]
            if self.kept is not None:
                self.kept.keep(name, vectors[name])
        for name, vector in vectors.items():
            self._classes[name] = vector
            _recall(self._classes, name, CLASSES)
        return torch.stack([vectors[name] for name in plain])

    @property
    def background(self) -> Float[Tensor, "1 C"]:
        """The vector of "background": nothing in particular."""
        return self.classes([BACKGROUND])[:1]

    def _known(self, name: str) -> Float[Tensor, " C"] | None:
        """The vector of a class that was encoded before, in this process or in another."""
        if name in self._classes or self.kept is None or self.tokenizer is None:
            return self._classes.get(name)
        return self.kept.recall(name)

    def _vectors(self, sentences: list[str]) -> Float[Tensor, "N C"]:
        return self.encoder.embed(*self._read(sentences))

    def _read(self, sentences: list[str]) -> tuple[Tensor, Tensor]:
        """Token ids and their mask."""
        if self.tokenizer is None:
            raise PromptError(
                "texts and class names need a tokenizer, and this model was opened without one: "
                "open it with pipelines.segment.open_predictor, or give Predictor a tokenizer"
            )
        read = self.tokenizer(sentences, padding=True, return_tensors="pt")
        device = self.encoder.projection.device
        return read["input_ids"].to(device), read["attention_mask"].to(device)


def plain_words(text: str) -> str:
    """What a text says, without how it is written: case, spaces, and marks at its ends.

    "Llama." is "llama": CLIP's tokenizer reads small letters, and the sentences of classes bring
    a full stop of their own. Marks inside stay: "St. Bernard" is "st. bernard".

    Raises:
        PromptError: it has no word.
    """
    if not isinstance(text, str) or not text.strip():
        raise PromptError(f"a text must have at least one word; got {text!r:.60}")
    words = " ".join(text.lower().split())
    return words.strip(MARKS) or words


def _recall(memory: OrderedDict[str, Any], key: str, limit: int) -> Any:
    memory.move_to_end(key)
    while len(memory) > limit:
        memory.popitem(last=False)
    return memory[key]
