"""Vectors of class names on disk: whose they are, and what becomes of damaged ones."""

import copy
from pathlib import Path

import pytest
import torch

from seem.words import Words
from tests.seem.predicting import WordHash
from tests.seem.tiny import tiny_seem
from weights.class_vectors import ClassVectors

TEMPLATES = ("{}.", "a photo of the {}.")
NAMES = ["llama", "dog"]


def open_words(folder: Path, *, encoder=None, tokenizer=None, templates=TEMPLATES) -> Words:
    encoder = tiny_seem("v1").text_encoder if encoder is None else encoder
    words = Words(encoder, tokenizer or WordHash(), templates)
    words.kept = ClassVectors(folder, encoder, words.tokenizer, templates)
    return words


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that are encoded from now on."""
    from seem import words as module

    seen: list[str] = []
    make = module.class_embeddings

    def watch(names, *rest):
        seen.extend(names)
        return make(names, *rest)

    monkeypatch.setattr(module, "class_embeddings", watch)
    return seen


@torch.no_grad()
def test_another_process_reads_what_one_has_encoded(tmp_path, monkeypatch) -> None:
    seen = encoded(monkeypatch)
    first = open_words(tmp_path).classes(NAMES)
    assert seen == ["llama", "dog", "background"]
    assert torch.equal(open_words(tmp_path).classes(NAMES), first)
    assert torch.equal(open_words(tmp_path).classes(["Dog."])[0], first[1])
    assert len(seen) == 3
    open_words(tmp_path).classes(["dog", "cat"])  # single names serve any list
    assert seen[3:] == ["cat"]
    assert not list(tmp_path.rglob("*.part"))


@torch.no_grad()
def test_other_weights_sentences_or_tokens_have_vectors_of_their_own(tmp_path, monkeypatch) -> None:
    class Other(WordHash):
        END = 125

    open_words(tmp_path).classes(NAMES)
    seen = encoded(monkeypatch)
    changed, half = (copy.deepcopy(tiny_seem("v1").text_encoder) for _ in range(2))
    changed.resblocks[0].ln_1.bias.data[0] += 1e-3
    for other in (
        {"encoder": changed},
        {"encoder": half.to(torch.bfloat16)},
        {"templates": ("{}.", "a photo of a {}.")},
        {"tokenizer": Other()},
    ):
        open_words(tmp_path, **other).classes(NAMES)
    assert len(seen) == 4 * 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path, other: path.write_bytes(b""),
        lambda path, other: path.write_bytes(path.read_bytes()[:-3]),
        lambda path, other: path.write_bytes(path.read_bytes()[:-3] + b"abc"),
        lambda path, other: path.write_bytes(other.read_bytes()),
        lambda path, other: path.write_text("mine"),
    ],
)
@torch.no_grad()
def test_a_file_that_is_damaged_or_another_s_is_made_anew(tmp_path, monkeypatch, spoil) -> None:
    first = open_words(tmp_path).classes(NAMES)
    one, other, _ = files(tmp_path)
    spoil(one, other)
    seen = encoded(monkeypatch)
    for _ in range(2):
        assert torch.equal(open_words(tmp_path).classes(NAMES), first)
    assert len(seen) == 1


@torch.no_grad()
def test_a_place_that_cannot_be_written_is_done_without(tmp_path, caplog) -> None:
    (tmp_path / "file").write_text("no folder")
    words = open_words(tmp_path / "file")
    assert words.classes(NAMES).shape[0] == 3
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1


@torch.no_grad()
def test_names_of_strangers_do_not_fill_the_disk(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("weights.class_vectors.MOST_NAMES", 3)
    open_words(tmp_path).classes(NAMES)
    open_words(tmp_path).classes(["cat", "cow"])
    assert len(files(tmp_path)) == 3
