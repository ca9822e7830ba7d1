"""Words: each text by itself, encoded once."""

import pytest
import torch

from grounding.errors import PromptError
from seem import words as module
from seem.vocabulary import class_embeddings
from seem.words import Words, plain_words
from tests.seem.predicting import WordHash
from tests.seem.tiny import tiny_seem


class Counting(WordHash):
    calls = 0

    def __call__(self, *args, **kwargs) -> dict:
        self.calls += 1
        return super().__call__(*args, **kwargs)


def test_a_text_is_encoded_once_and_alone() -> None:
    encoder, tokenizer = tiny_seem("v1").text_encoder, Counting()
    words = Words(encoder, tokenizer)
    first = words.text("a llama")
    assert words.text("  a llama ") is first
    assert tokenizer.calls == 1
    assert first.tokens.shape == (4, 32)
    torch.testing.assert_close(first.classes.norm(dim=1), torch.ones(1))


@pytest.mark.parametrize("text", ["Llama", "llama.", " LLAMA !", "llama,"])
def test_how_a_name_is_written_changes_nothing(text: str) -> None:
    words = Words(tiny_seem("v1").text_encoder, WordHash())
    assert torch.equal(words.text(text).tokens, words.text("llama").tokens)
    assert torch.equal(words.classes([text]), words.classes(["llama"]))


def test_marks_inside_a_name_stay() -> None:
    assert plain_words("a St.  Bernard.") == "a st. bernard"
    assert plain_words("jack-o'-lantern; ") == "jack-o'-lantern"
    assert plain_words("?") == "?"


def test_classes_are_means_of_sentences_with_background_last() -> None:
    encoder = tiny_seem("v1").text_encoder
    words = Words(encoder, WordHash())
    vectors = words.classes(["llama", "tree-merged"])

    def encode(sentences: list[str]) -> torch.Tensor:
        read = WordHash()(sentences, padding=True, return_tensors="pt")
        return encoder.embed(read["input_ids"], read["attention_mask"])

    expected = class_embeddings(["llama", "tree-merged", "background"], encode)
    assert torch.equal(vectors, expected)
    assert torch.equal(words.classes(["tree-merged"])[0], vectors[1])
    assert torch.equal(words.background, vectors[2:])


def test_old_texts_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    tokenizer = Counting()
    words = Words(tiny_seem("v1").text_encoder, tokenizer)
    for text in ("a", "b", "a", "c", "a", "b"):
        words.text(text)
    assert tokenizer.calls == 4
    assert len(words._texts) == 2


@pytest.mark.parametrize("names", [[], "llama", ["llama", ""], [None]])
def test_classes_need_names(names: list) -> None:
    with pytest.raises(PromptError, match=r"at least one (name|word)"):
        Words(tiny_seem("v1").text_encoder, WordHash()).classes(names)


def test_a_text_that_is_too_long_is_refused() -> None:
    def tokenizer(texts: list[str], **_: object) -> dict:
        ids = torch.ones(1, 40, dtype=torch.long)
        return {"input_ids": ids, "attention_mask": ids}

    with pytest.raises(PromptError, match="16 tokens, got 40"):
        Words(tiny_seem("v1").text_encoder, tokenizer).text("llama")
