"""Words that a small text encoder did not know get tokens of their own; others keep every bit."""

import pytest
import torch

from seem.train.names import tokens_of
from seem.train.new_words import learn_new_words
from weights.new_words import add_words, join_pieces
from weights.predictor import load_predictor, save_predictor
from weights.registry import embedded

OLD = ["llama", "the lava dog left of the car", "a beach"]


def vectors(predictor, texts):
    with torch.no_grad():
        read = tokens_of(predictor.words.tokenizer, texts)
        return predictor.model.text_encoder(*read).embeddings


def test_new_names_are_told_apart_and_old_texts_keep_every_bit(tmp_path):
    predictor = load_predictor(embedded("seem"))
    before = vectors(predictor, OLD)
    names = ["robot", "traffic cone", "Käse", "llama"]
    new = add_words(predictor.model, predictor.words.tokenizer, names)
    assert "dog" in new.known
    assert "robot" not in new.known
    known = ["dog", "volcano", "background"]
    learn_new_words(predictor.model.text_encoder, new.tokenizer, new.ids, names[:3], known)
    predictor.words.tokenizer = new.tokenizer
    save_predictor(predictor, tmp_path / "model")
    predictor = load_predictor(tmp_path / "model")
    assert torch.equal(vectors(predictor, OLD), before)
    apart = vectors(predictor, [*names[:3], *known])
    assert (apart @ apart.T - torch.eye(6)).max() < 0.6
    assert vectors(predictor, ["the Robot left of a dog"])[0] @ apart[0] > 0.9
    assert vectors(predictor, ["the dog left of a robot"])[0] @ apart[3] > 0.9
    again = add_words(predictor.model, predictor.words.tokenizer, names)
    assert again.ids == ()
    assert again.tokenizer is predictor.words.tokenizer


def test_the_tokenizer_of_a_language_stays_as_it_is():
    predictor = load_predictor(embedded("seem"))
    tokenizer = predictor.words.tokenizer
    object.__setattr__(predictor.model.config, "vocabulary", 49408)
    assert add_words(predictor.model, tokenizer, ["axolotl"]).tokenizer is tokenizer


@pytest.mark.parametrize(
    "words", [["ab", "abc", "xabc"], ["aab", "aaab", "baa"], ["abab", "ab", "bab", "aba"]]
)
def test_joined_pieces_make_one_token_of_each_word(words):
    from grounding.stickers.tokenizer import merge_pair

    merges = join_pieces(words)
    for word in words:
        parts = tuple(word)
        while True:  # as byte-pair encoders do: the first merge of all that apply
            ranked = [merges.index(p) for p in zip(parts, parts[1:], strict=False) if p in merges]
            if not ranked:
                break
            parts = merge_pair(parts, merges[min(ranked)])
        assert parts == (word,)
