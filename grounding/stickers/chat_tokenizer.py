"""The embedded LLaVA's words: each word of the sticker world is one token, and so is each number.

Byte-level, so that nothing is unknown: other words fall apart into bytes. A number with two
decimals, as boxes have, is one token.
"""

import re
from collections.abc import Iterable
from typing import Final

import torch
from jaxtyping import Float
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from grounding.stickers.questions import plural
from grounding.stickers.vocabulary import BACKGROUNDS, CONCEPTS, MATERIALS

__all__ = ["MAX_TOKENS", "NUMBERS", "build_chat_tokenizer", "place_numbers"]

MAX_TOKENS = 1024  # of a conversation
SPACE = "Ġ"  # a space, in byte-level vocabularies
NUMBERS: Final = tuple(f"{value / 100:.2f}" for value in range(101))
SPLIT = r" ?\d\.\d\d| ?\d| ?[A-Za-z]+| ?[^\sA-Za-z\d]|\s"
SPECIAL = ("</s>", "<pad>", "[INST]", "[/INST]")
SENTENCES = """
Describe the image with boxes. Write a caption for the image. What is in the image? Yes No A B
List the objects with their boxes. How many things are there in the image? Which caption fits the
image? Is there an object? Where is the object? plain Is it to the left of, right of, above, below?
What is this made of? Who is it? What is the background? What color material is it?
Please provide the bounding box coordinate of the region this sentence describes: it.
Please provide a short description for this region. Answer the question using a single word or
phrase. Plan a layout: no one two three four five six without, and but not any next under over on
top at bottom in between front behind the big small picture photo can you see does show are I do
[ ] 0 1 2 3 4 5 6 7 8 9
"""
NUMBER_WAVES = 8  # whole turns of the fastest wave over the canvas
WAVES = 16


def build_chat_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer; the same at every call."""
    words = dict.fromkeys(pre_tokenizers.ByteLevel.alphabet())
    ordered = sorted(words)
    texts = [*CONCEPTS, *map(plural, CONCEPTS), *MATERIALS, *BACKGROUNDS, *BACKGROUNDS.values()]
    ordered += _spaced([*texts, SENTENCES])
    ordered += [prefix + number for prefix in ("", SPACE) for number in NUMBERS]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(ordered))}
    model = models.BPE(vocab=vocabulary, merges=[], ignore_merges=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    # White space beside what opens and closes turns belongs to it.
    tokenizer.add_special_tokens(
        [
            AddedToken(name, lstrip=name != "[INST]", rstrip=name == "[INST]", normalized=False)
            for name in SPECIAL
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["[INST]", "[/INST]"],
        model_max_length=MAX_TOKENS,
        clean_up_tokenization_spaces=False,
    )


def _spaced(texts: Iterable[str]) -> list[str]:
    """Each word and sign of the texts as it stands after a space, and without one."""
    found: dict[str, None] = {}
    for text in texts:
        for word in re.findall(r"[A-Za-z]+|[^\sA-Za-z]", text):
            found[SPACE + word] = None
            found[word] = None
    return list(found)


@torch.no_grad()
def place_numbers(
    table: Float[Tensor, "V D"], tokenizer: PreTrainedTokenizerFast, *, seed: int = 0
) -> None:
    """Let the words of numbers that are near each other begin near each other.

    Waves over the canvas, as positions have them (arXiv 1706.03762, section 3.5), turned at random
    into the table's channels, at half of its scale; the other half stays random.

    Args:
        table: Embeddings of all words, changed in place.
        tokenizer: Of `build_chat_tokenizer`.
        seed: Of the turn.
    """
    values = torch.linspace(0, 1, len(NUMBERS))[:, None]
    turns = torch.logspace(-1, 1, WAVES, base=2.0 * NUMBER_WAVES)[None] * torch.pi
    waves = torch.cat([(values * turns).cos(), (values * turns).sin()], dim=1)
    generator = torch.Generator().manual_seed(seed)
    for prefix in ("", SPACE):
        turn = torch.randn(waves.shape[1], table.shape[1], generator=generator)
        rows = waves @ turn
        ids = tokenizer.convert_tokens_to_ids([prefix + number for number in NUMBERS])
        scale = table.std() / rows.std()
        table[ids] = 0.5 * table[ids] + scale.to(table) * rows.to(table)
