"""The embedded LLaVA's words: whole, exact, and numbers near each other alike."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.llava.template import find_template
from grounding.llava.tokens import IGNORED, tokenize
from grounding.llava.train.sticker_talk import conversation_about
from grounding.stickers import PRESETS
from grounding.stickers.chat_tokenizer import NUMBERS, build_chat_tokenizer, place_numbers
from grounding.stickers.plans import plan
from grounding.stickers.questions import ask_several

TOKENIZER = build_chat_tokenizer()
BYTES = 256


def test_it_is_the_same_at_every_call():
    assert build_chat_tokenizer().get_vocab() == TOKENIZER.get_vocab()


@given(st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_no_text_is_unknown(text):
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert None not in ids
    if not any(mark in text for mark in ("[INST]", "</s>", "<pad>", "[/INST]")):
        assert TOKENIZER.decode(ids) == text


@pytest.mark.parametrize("preset", ["crowd", "full"])
def test_questions_and_answers_are_whole_words(preset):
    world = PRESETS[preset]
    for seed in range(25):
        chance = np.random.default_rng(seed)
        asked = [*ask_several(world.scene(seed), world, chance, 12), plan(world, chance)]
        for question in asked:
            for text in (f" {question.text}", f" {question.answer}"):
                ids = TOKENIZER.encode(text, add_special_tokens=False)
                broken = [i for i in ids if i < BYTES and TOKENIZER.decode([i]).strip().isalpha()]
                assert not [i for i in broken if TOKENIZER.decode([i]) not in ("a", "A", "B", "I")]
                assert TOKENIZER.decode(ids) == text


def test_a_turn_costs_no_token_for_its_spaces():
    [asked] = [q for q in ask_several(PRESETS["crowd"].scene(1), PRESETS["crowd"],
               np.random.default_rng(1), 12) if q.kind == "material"][:1]  # fmt: skip
    pieces = find_template("mistral_instruct").pieces(conversation_about([asked], False))
    tokens = tokenize(pieces, TOKENIZER)
    words = TOKENIZER.convert_ids_to_tokens(tokens.ids.tolist())
    assert words[0] == "[INST]"
    assert "Ġ" not in words
    answer = [int(i) for i in tokens.labels if i != IGNORED]
    assert TOKENIZER.convert_ids_to_tokens(answer) == [f"Ġ{asked.answer}", "</s>"]


def test_near_numbers_begin_near():
    table = torch.randn(len(TOKENIZER), 32, generator=torch.Generator().manual_seed(0))
    place_numbers(table, TOKENIZER)
    rows = table[TOKENIZER.convert_tokens_to_ids([f"Ġ{number}" for number in NUMBERS])]
    alike = torch.nn.functional.cosine_similarity(rows[:-1], rows[1:], dim=1).mean()
    apart = torch.nn.functional.cosine_similarity(rows[:50], rows[50:100], dim=1).mean()
    assert alike > 0.5
    assert alike > apart + 0.3
