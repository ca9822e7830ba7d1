"""Words that a small text encoder does not know: tokens for them, which can then be learned.

The tokenizer of a small world reads that world's words as one token each and any other word in
pieces, with tokens that no training ever met. Such a word gets a token of its own. It comes before
the tokens of start and end, since SEEM takes the highest id of a text for its end
(`seem.text_encoder`); all that was known keeps its token and its embedding. The tokenizer of a
language, such as CLIP's, was trained on pieces of words, and nothing is done.
"""

import dataclasses
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from grounding.errors import CheckpointError
from grounding.stickers.tokenizer import merge_pair
from seem.model import Seem
from seem.text_encoder import INITIAL_STD, TextEncoder

__all__ = ["NewWords", "add_words", "join_pieces"]

LANGUAGE = 10_000
"""Tokens from which a vocabulary is that of a language: the sticker world's has 916, CLIP's 49,408."""  # noqa: E501
TRAINED = 1.2
"""Spread of a trained embedding, of the spread that all begin with: of the embedded SEEM's, words
that it was trained on have 1.2 to 1.7, all others 0.9 to 1.15."""

ENDS = 2  # tokens of start and end
Pair = tuple[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewWords:
    """What a model is to learn to read.

    Attributes:
        tokenizer: With a token for each of the words.
        ids: Of the tokens whose embeddings know nothing yet.
        known: Words that it was trained on.
    """

    tokenizer: Any
    ids: tuple[int, ...] = ()
    known: tuple[str, ...] = ()


def add_words(
    model: Seem, tokenizer: Any, names: Sequence[str], kept: Sequence[str] = ()
) -> NewWords:
    """Give the unknown words of names tokens of their own, with fresh embeddings.

    Args:
        model: Its text encoder and its config grow, if they must.
        tokenizer: Of the model.
        names: In which the words stand.
        kept: Texts that are read as before. If one would not be, the model knows words by their
            pieces, and nothing is done.

    Raises:
        CheckpointError: the model knows few words, and its tokenizer is none of CLIP's kind.
    """
    if model.config.vocabulary >= LANGUAGE:
        return NewWords(tokenizer=tokenizer)
    content = _content(tokenizer)
    inner = Tokenizer.from_str(json.dumps(content))
    words = _words(inner, names)
    readings = [inner.encode(word, add_special_tokens=False).tokens for word in words]
    known = _trained_words(content, model.text_encoder)
    if pieces := [tokens for tokens in readings if len(tokens) > 1]:
        joined = _joined(content, pieces, model.config.text_context)
        before, inner = inner, Tokenizer.from_str(json.dumps(_content(joined)))
        if any(inner.encode(text).tokens != before.encode(text).tokens for text in kept):
            return NewWords(tokenizer=tokenizer)
        tokenizer = joined
        _grow(model, len(tokenizer) - model.config.vocabulary)
    trained = _trained(model.text_encoder)
    ids = {i for word in words for i in inner.encode(word, add_special_tokens=False).ids}
    fresh = tuple(sorted(number for number in ids if not trained[number]))
    return NewWords(tokenizer=tokenizer, ids=fresh, known=known)


def _content(tokenizer: Any) -> dict[str, Any]:
    """What `tokenizer.json` holds of a tokenizer.

    Raises:
        CheckpointError: it is of another kind than CLIP's.
    """
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        try:
            content = json.loads((Path(folder) / "tokenizer.json").read_text("utf-8"))
            if content["model"]["type"] == "BPE" and content["model"]["end_of_word_suffix"]:
                return content
        except (OSError, ValueError, KeyError):
            pass
    raise CheckpointError(
        "new words need a tokenizer of CLIP's kind (byte pairs in tokenizer.json); name things "
        "that the model knows, or begin with another model (--init)"
    )


def _words(tokenizer: Tokenizer, names: Iterable[str]) -> list[str]:
    """The words of names, as the tokenizer tells them apart, each once."""
    found: dict[str, None] = {}
    for name in names:
        text = tokenizer.normalizer.normalize_str(name)
        places = (place for _, place in tokenizer.pre_tokenizer.pre_tokenize_str(text))
        found |= dict.fromkeys(text[start:end].strip() for start, end in places)
    return list(filter(None, found))


def _trained(encoder: TextEncoder) -> list[bool]:
    """Which tokens' embeddings were trained: they are spread more than they were at first."""
    spread = encoder.token_embedding.weight.detach().float().std(1)
    return (spread >= TRAINED * INITIAL_STD).tolist()


def _trained_words(content: Mapping[str, Any], encoder: TextEncoder) -> tuple[str, ...]:
    trained, end = _trained(encoder), content["model"]["end_of_word_suffix"]
    return tuple(
        token.removesuffix(end)
        for token, number in content["model"]["vocab"].items()
        if trained[number] and token.endswith(end) and token.isascii()
    )


def _joined(content: Mapping[str, Any], pieces: Iterable[Sequence[str]], longest: int) -> Any:
    """The tokenizer with tokens for words that it reads in pieces; start and end stay last."""
    from transformers import CLIPTokenizer

    vocabulary, merges = content["model"]["vocab"], map(_pair, content["model"]["merges"])
    order = sorted(vocabulary, key=vocabulary.get)
    ends = sorted(one["content"] for one in content["added_tokens"])
    if len(ends) != ENDS or sorted(order[-ENDS:]) != ends:
        raise CheckpointError("expected a tokenizer whose last tokens are those of start and end")
    new = join_pieces(pieces)
    tokens = dict.fromkeys("".join(pair) for pair in new)
    order[-ENDS:-ENDS] = [token for token in tokens if token not in vocabulary]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(order)},
        merges=[*merges, *new],  # pyright: ignore[reportArgumentType]
        model_max_length=longest,
    )


def _pair(merge: str | Sequence[str]) -> Pair:
    """A merge as a pair; older files have it as text."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def join_pieces(words: Iterable[Sequence[str]]) -> list[Pair]:
    """Byte-pair merges that make one token of each word, in the order in which they apply.

    Args:
        words: Their pieces, as the merges before these leave them.
    """
    merges: list[Pair] = []
    for pieces in words:
        parts = tuple(pieces)
        for pair in merges:
            parts = merge_pair(parts, pair)
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts = merge_pair(parts, merges[-1])
    return merges


def _grow(model: Seem, fresh: int) -> None:
    """Add embeddings before those of start and end."""
    encoder = model.text_encoder
    old = encoder.token_embedding.weight.detach()
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(fresh, old.shape[1], generator=generator).to(old) * INITIAL_STD
    grown = nn.Embedding(len(old) + fresh, old.shape[1]).to(old)
    grown.weight.data = torch.cat([old[:-ENDS], rows, old[-ENDS:]])
    encoder.token_embedding = grown
    encoder.vocabulary = len(grown.weight)
    model.config = dataclasses.replace(model.config, vocabulary=encoder.vocabulary)
