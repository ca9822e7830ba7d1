"""The sticker world's text side: a CLIP tokenizer whose words are whole, and a small text encoder.

Both are in transformers' formats, so that everything that expects Stable Diffusion's text encoder
works with them. The encoder first learns, from words alone, to tell in its pooled output what a
phrase names; the base model's training then goes on from there.
"""

import itertools
import re
from collections import Counter
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from tokenizers import pre_tokenizers
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from grounding.stickers.vocabulary import BACKGROUNDS, CONCEPTS, MATERIALS
from grounding.stickers.world import World

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
END = "</w>"  # of a word, in CLIP's vocabularies
MAX_TOKENS = 40  # of a caption, with its start and end
PHRASE_TOKENS = 8  # enough for "a grass sunflower"
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
        pieces = {word: _merged(parts, best) for word, parts in pieces.items()}


def _merged(parts: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """Join every occurrence of a pair, from left to right."""
    result, i = [], 0
    while i < len(parts):
        joined = parts[i : i + 2] == pair
        result.append("".join(pair) if joined else parts[i])
        i += 1 + joined
    return tuple(result)


def build_text_encoder(
    tokenizer: CLIPTokenizer, *, width: int = 192, layers: int = 3
) -> CLIPTextModel:
    """An untrained CLIP text encoder of the given width."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            max_position_embeddings=MAX_TOKENS,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.convert_tokens_to_ids(BOS),  # pyright: ignore[reportArgumentType]
            eos_token_id=tokenizer.convert_tokens_to_ids(EOS),  # pyright: ignore[reportArgumentType]
            pad_token_id=tokenizer.convert_tokens_to_ids(EOS),  # pyright: ignore[reportArgumentType]
        )
    )


def tokenized(tokenizer: CLIPTokenizer, texts: list[str], length: int = MAX_TOKENS) -> Tensor:
    """Token ids, int64 [len(texts), length], padded with the end token."""
    encoded = tokenizer(
        texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    return encoded["input_ids"]  # pyright: ignore[reportReturnType]


class PhraseNamer(nn.Module):
    """Linear probes on the pooled output: which concept and which material does a phrase name?"""

    def __init__(self, tokenizer: CLIPTokenizer, world: World, width: int) -> None:
        super().__init__()
        self.materials = (None, *world.materials)
        pairs = list(itertools.product(range(len(self.materials)), range(len(world.concepts))))
        texts = [
            f"{self.materials[m]} {world.concepts[c]}" if m else world.concepts[c] for m, c in pairs
        ]
        self.ids = tokenized(tokenizer, texts, PHRASE_TOKENS)
        self.material_of = torch.tensor([m for m, _ in pairs])
        self.concept_of = torch.tensor([c for _, c in pairs])
        self.to_material = nn.Linear(width, len(self.materials))
        self.to_concept = nn.Linear(width, len(world.concepts))

    def loss(self, encoder: CLIPTextModel, generator: torch.Generator, batch: int) -> Tensor:
        """Cross-entropy of both names over a batch of random phrases."""
        which = torch.randint(len(self.ids), (batch,), generator=generator)
        pooled = encoder(input_ids=self.ids[which]).pooler_output
        return F.cross_entropy(self.to_concept(pooled), self.concept_of[which]) + F.cross_entropy(
            self.to_material(pooled), self.material_of[which]
        )


def learn_words(encoder: CLIPTextModel, namer: PhraseNamer, *, steps: int, seed: int) -> float:
    """Train the encoder, from words alone, to name what phrases name; returns the last loss."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *namer.parameters()], lr=1e-3)
    loss = torch.zeros(())
    for _ in tqdm(range(steps), desc="words", disable=None):
        loss = namer.loss(encoder, generator, 64)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return loss.item()
