"""How a small language model begins, so that it soon finds the patches that a word is about.

Looking something up is what most answers need (associative recall, arXiv 2312.04927), and
attention learns it late from random weights: after 27,000 questions (480 steps of 4 rows) the
embedded model had not begun to; begun as follows, its first layer left so, and shown scenes in
brief, it named what is made of what after 17,000.

Half of the heads begin as a search. Their keys are their queries, at the slow rotations, which
hardly depend on how far apart two words are: a word attends to what is like it. One channel says "I
ask", one "I am a patch"; the first looks for the second, or a word would find itself. All outputs
begin as the values turned back: what is attended to is taken over.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn

__all__ = ["ASKS", "SHOWN", "attend_to_alike", "mark"]

ASKS, SHOWN = 0, 1  # the two channels
STRENGTH = 4.0  # of a channel, in deviations of the others
LIKENESS = 6.0  # logit of a patch that holds the word, about
PREFERENCE = 6.0  # logit of patches, above that of words
SLOW = 0.02  # radians a word: slower rotations compare words
HOLDS: Final = 0.6  # cosine of a patch with one of its words, about


@torch.no_grad()
def mark(words: Tensor, channel: int) -> None:
    """Let rows of words, [V, D], say what `channel` says, and not what the other one says."""
    deviation = words.std()
    words[:, [ASKS, SHOWN]] = 0
    words[:, channel] = STRENGTH * deviation


@torch.no_grad()
def attend_to_alike(language_model: nn.Module) -> None:
    """Begin the first half of every layer's heads as a search, and take over what is found.

    Args:
        language_model: A LLaMA of transformers, fresh, with as many heads for keys as for queries;
            changed in place.
    """
    model: Any = language_model
    config, decoder = model.config, model.get_decoder()
    mark(decoder.embed_tokens.weight, ASKS)
    heads = config.num_attention_heads
    size = config.hidden_size // heads
    rotations = decoder.rotary_emb.inv_freq.repeat(2)
    slow = (rotations < SLOW).float()
    slowest = int(rotations.argmin())
    scale = (LIKENESS * size**0.5 / (HOLDS * slow.sum() * config.hidden_size)) ** 0.5
    preferred = (PREFERENCE * size**0.5) ** 0.5 / STRENGTH
    for layer in decoder.layers:
        attention = layer.self_attn
        queries = attention.q_proj.weight.unflatten(0, (heads, size))
        keys = attention.k_proj.weight.unflatten(0, (heads, size))
        for head in range(heads // 2):
            queries[head] *= slow[:, None] * scale / queries[head].std()
            queries[head][:, [ASKS, SHOWN]] = 0
            keys[head] = queries[head]
            queries[head, slowest] = keys[head, slowest] = 0
            queries[head, slowest, ASKS] = keys[head, slowest, SHOWN] = preferred
        attention.o_proj.weight.copy_(attention.v_proj.weight.T)
