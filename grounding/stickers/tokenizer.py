"""The sticker world's words as tokens: a CLIP tokenizer whose words are whole.

It is in transformers' format, so that everything that expects Stable Diffusion's or SEEM's
tokenizer works with it.
"""

import itertools
import re
from collections import Counter
from collections.abc import Mapping

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from grounding.stickers.vocabulary import BACKGROUNDS, CONCEPTS, MATERIALS

__all__ = ["BOS", "EOS", "MAX_TOKENS", "build_tokenizer", "learn_merges", "merge_pair"]

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
END = "</w>"  # of a word, in CLIP's vocabularies
MAX_TOKENS = 40  # of a caption, with its start and end
FUNCTION_WORDS = "a an and with left right of above below on in the at , ."


def build_tokenizer() -> CLIPTokenizer:
    """A byte-level BPE tokenizer in which every word of the full world is one token.

    Other text, an emoji included, falls apart into bytes: nothing is unknown. The same words give
    the same ids, always.
    """
    texts = [*CONCEPTS, *MATERIALS, *BACKGROUNDS.values(), FUNCTION_WORDS]
    words = Counter(word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text.lower()))
    merges = learn_merges(words)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(letter + END for letter in alphabet)]
    tokens += [first + second for first, second in merges]
    vocabulary = {token: i for i, token in enumerate([*dict.fromkeys(tokens), BOS, EOS])}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,  # pyright: ignore[reportArgumentType]
        model_max_length=MAX_TOKENS,
        clean_up_tokenization_spaces=True,
    )


def learn_merges(words: Mapping[str, int]) -> list[tuple[str, str]]:
    """Byte-pair merges until every word is one token (Sennrich et al., arXiv 1508.07909).

    The most frequent pair is merged first; of equals, the first in alphabetical order. (The
    trainer of `tokenizers` breaks ties as its hash tables happen to lie in memory.)

    Args:
        words: How often each word occurs; ASCII, so that letters are bytes.
    """
    pieces = {word: (*word[:-1], word[-1] + END) for word in words}
    merges = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in pieces.items():
            for pair in itertools.pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = {word: merge_pair(parts, best) for word, parts in pieces.items()}


def merge_pair(parts: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """Join every occurrence of a pair of pieces of a word, from left to right."""
    result, i = [], 0
    while i < len(parts):
        joined = parts[i : i + 2] == pair
        result.append("".join(pair) if joined else parts[i])
        i += 1 + joined
    return tuple(result)
