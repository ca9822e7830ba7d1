"""Tokenizers of language models, in every state that people leave their files in."""

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import LlamaTokenizer

from grounding.llava.template import IMAGE, Piece
from grounding.llava.tokens import IMAGE_ID, tokenize
from tests.rehearsal.llava import tokenizer_model
from weights.llava_chat import load_chat_tokenizer

ASKED = [Piece("A hill of wool. USER: "), Piece(IMAGE), Piece("\nWhat is it? ASSISTANT:")]
CONFIG = {
    "tokenizer_class": "LlamaTokenizer",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
}


@pytest.fixture(scope="module")
def sentences(tmp_path_factory) -> Path:
    """A small SentencePiece model, made as Llama's was."""
    pytest.importorskip("sentencepiece")
    return tokenizer_model(tmp_path_factory.mktemp("words"))


def put(folder: Path, model: Path, kind: str, **said) -> Path:
    """What the original LLaVAs bring: tokenizer.model, and configs."""
    folder.mkdir()
    shutil.copy(model, folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(json.dumps({**CONFIG, **said}))
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    return folder


def save_again(folder: Path, to: Path, kind: str) -> Path:
    """What transformers makes of a folder: tokenizer.json, and less in the config."""
    LlamaTokenizer.from_pretrained(folder).save_pretrained(to)
    (to / "config.json").write_text(json.dumps({"model_type": kind}))
    return to


def ids_of(folder: Path) -> list[int]:
    return tokenize(ASKED, load_chat_tokenizer(folder)).ids.tolist()


@pytest.mark.parametrize("kind", ["llava", "llama"])
@pytest.mark.parametrize("said", [{}, {"add_bos_token": True}, {"legacy": False}])
def test_a_text_opens_as_the_model_was_trained(sentences, tmp_path, kind, said):
    from sentencepiece import SentencePieceProcessor

    plain = SentencePieceProcessor(str(sentences))
    before, after = (plain.encode(str(ASKED[place].text)) for place in (0, 2))
    folder = put(tmp_path / "a", sentences, kind, **said)
    assert ids_of(folder) == [1, *before, IMAGE_ID, *after]
    again = save_again(folder, tmp_path / "b", "llava")
    assert ids_of(again) == ids_of(folder)
    load_chat_tokenizer(again).save_pretrained(tmp_path / "c")
    assert ids_of(tmp_path / "c") == ids_of(folder)


def test_who_says_that_it_does_not_open_texts_is_believed(sentences, tmp_path):
    folder = put(tmp_path / "a", sentences, "llama", add_bos_token=False)
    assert 1 not in ids_of(folder)


def test_other_vocabularies_stay_as_they_are(tmp_path):
    inner = Tokenizer(models.BPE(vocab={"<s>": 0, "</s>": 1, "a": 2}, merges=[]))
    inner.normalizer, inner.decoder = normalizers.NFC(), decoders.Fuse()
    inner.save(str(tmp_path / "tokenizer.json"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    assert load_chat_tokenizer(tmp_path)("a")["input_ids"] == [2]
