"""The tokenizer knows every word of the world, and any other text as bytes."""

import pytest
import torch
from transformers import CLIPTokenizer

from gligen.train.words import (
    PHRASE_TOKENS,
    PhraseNamer,
    build_text_encoder,
    learn_words,
    tokenized,
)
from grounding.stickers import PRESETS
from grounding.stickers.tokenizer import build_tokenizer, learn_merges
from grounding.stickers.vocabulary import CONCEPTS, MATERIALS
from weights.registry import embedded


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_every_word_of_the_world_is_one_token(tokenizer):
    for word in [*CONCEPTS, *MATERIALS]:
        assert len(tokenizer.tokenize(word)) == 1, word


def test_the_same_words_always_get_the_same_ids(tokenizer):
    shipped = CLIPTokenizer.from_pretrained(embedded("base") / "tokenizer")
    assert shipped.get_vocab() == tokenizer.get_vocab()
    assert learn_merges({"ab": 1, "cb": 1, "abc": 1}) == [
        ("a", "b"),
        ("a", "b</w>"),
        ("ab", "c</w>"),
        ("c", "b</w>"),
    ]


def test_no_caption_and_no_phrase_is_cut(tokenizer):
    captions = [PRESETS["full"].scene(seed).caption for seed in range(300)]
    assert (tokenized(tokenizer, captions)[:, -1] == tokenizer.eos_token_id).all()
    phrases = [f"{material} {concept}" for material in MATERIALS for concept in CONCEPTS]
    assert (tokenized(tokenizer, phrases, PHRASE_TOKENS)[:, -1] == tokenizer.eos_token_id).all()


@pytest.mark.parametrize("text", ["🦙", "Zürich", "熔岩", "lava\u0000llama"])
def test_other_text_is_bytes_not_unknown(tokenizer, text):
    ids = tokenizer(text)["input_ids"][1:-1]
    assert ids
    assert tokenizer.eos_token_id not in ids


def test_saved_and_loaded_tokenizer_is_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert again("a lava llama, 🦙")["input_ids"] == tokenizer("a lava llama, 🦙")["input_ids"]
    assert again.model_max_length == tokenizer.model_max_length


def test_the_encoder_learns_to_name_phrases(tokenizer):
    torch.manual_seed(0)
    encoder = build_text_encoder(tokenizer, width=64, layers=1)
    namer = PhraseNamer(tokenizer, PRESETS["small"], 64)
    before = namer.loss(encoder, torch.Generator().manual_seed(1), 64).item()
    assert learn_words(encoder, namer, steps=120, seed=0) < 0.3 * before
