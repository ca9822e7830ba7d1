"""The names that a batch's queries choose among, as ids of tokens.

Axes: K names, T tokens. Names are concepts in one half of the steps, and phrases with materials in
the other; backgrounds are names in both; "background" stands last and is none of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from seem.train.batch import Picture
from seem.train.scenes import Lexicon
from seem.vocabulary import BACKGROUND

__all__ = ["Names", "choose_names", "tokens_of"]

DISTRACTORS = 24  # phrases that are chosen at random beside those of the batch


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names to choose among.

    Attributes:
        texts: The names; "background" last.
        detailed: Whether materials are part of them.
    """

    texts: tuple[str, ...]
    detailed: bool

    def label(self, picture: Picture, number: int) -> int | None:
        """The index of an object's name (0: the background's); None: it has no name."""
        record = picture.record
        if not number:
            name = record.background
        else:
            name = (record.phrases if self.detailed else record.concepts)[number - 1]
        return None if name is None else self.texts.index(name)


def choose_names(
    pictures: Sequence[Picture], lexicon: Lexicon, generator: np.random.Generator
) -> Names:
    """Choose the names of a step."""
    detailed = bool(lexicon.materials) and bool(generator.random() < 0.5)
    if detailed:
        shown = [phrase for p in pictures for phrase in p.record.phrases if phrase]
        others = [
            f"{generator.choice(lexicon.materials)} {generator.choice(lexicon.concepts)}"
            for _ in range(DISTRACTORS)
        ]
        objects = tuple(dict.fromkeys([*shown, *others]))
    else:
        objects = lexicon.concepts
    return Names(texts=(*objects, *lexicon.backgrounds, BACKGROUND), detailed=detailed)


def tokens_of(tokenizer: Callable[..., Any], texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids and their mask, both [K, T]."""
    read = tokenizer(list(texts), padding=True, return_tensors="pt")
    return read["input_ids"], read["attention_mask"]
