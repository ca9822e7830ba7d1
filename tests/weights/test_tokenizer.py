import json
import shutil

import pytest

from grounding.errors import CheckpointError
from tests.weights import tiny
from weights.registry import embedded
from weights.tokenizer import (
    SentenceTokenizer,
    defer_tokenizer,
    load_sentence_tokenizer,
    load_tokenizer,
)

SENTENCES = ["a lava llama", "A photo of a  ghost, and\ta café\u0301 🦙.", "the cat's 12 hats"]


@pytest.mark.parametrize("folder", ["seem", "base"])
def test_sentences_are_tokenized_as_transformers_does(folder, tmp_path):
    source = embedded(folder) / "tokenizer"
    quick = load_sentence_tokenizer(source)
    assert isinstance(quick, SentenceTokenizer)
    quick.save_pretrained(tmp_path / "copy")
    slow = load_tokenizer(source)(SENTENCES, padding=True, return_tensors="pt")
    for tokenizer in (quick, load_sentence_tokenizer(tmp_path / "copy")):
        read = tokenizer(SENTENCES, padding=True, return_tensors="pt")
        assert read["input_ids"].tolist() == slow["input_ids"].tolist()
        assert read["attention_mask"].tolist() == slow["attention_mask"].tolist()


def test_a_vocabulary_without_tokenizer_json_is_read_by_transformers(tmp_path):
    folder = tiny.write_tokenizer(tmp_path / "tokenizer")
    for name in ("tokenizer.json",):
        (folder / name).unlink(missing_ok=True)
    tokenizer = load_sentence_tokenizer(folder)
    assert not isinstance(tokenizer, SentenceTokenizer)


@pytest.mark.parametrize("said", [{"content": "<|endoftext|>", "__type": "AddedToken"}, None])
def test_the_token_that_fills_up_is_said_in_many_ways(tmp_path, said):
    load_tokenizer(embedded("clip_tokenizer")).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    expected = load_sentence_tokenizer(tmp_path)(SENTENCES, padding=True, return_tensors="pt")
    config = {key: value for key, value in config.items() if key != "pad_token"}
    if said is not None:
        config["pad_token"] = said
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    read = load_sentence_tokenizer(tmp_path)(SENTENCES, padding=True, return_tensors="pt")
    assert read["input_ids"].tolist() == expected["input_ids"].tolist()


@pytest.mark.parametrize("load", [load_tokenizer, load_sentence_tokenizer])
@pytest.mark.parametrize("name", ["vocab.json", "tokenizer.json"])
def test_a_damaged_tokenizer_is_one_line(tmp_path, load, name):
    folder = tiny.write_tokenizer(tmp_path / "tokenizer")
    (folder / name).write_text("{")
    if name == "tokenizer.json":
        (folder / "vocab.json").unlink(missing_ok=True)
        (folder / "tokenizer_config.json").write_text('{"pad_token": "!"}')
    with pytest.raises(CheckpointError, match="not a CLIP tokenizer") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_deferred_tokenizer_reads_its_files_when_a_text_comes(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="expected a CLIP tokenizer"):
        defer_tokenizer(tmp_path)  # what is missing is missed at once
    shutil.copytree(embedded("clip_tokenizer"), tmp_path, dirs_exist_ok=True)
    deferred = defer_tokenizer(tmp_path)
    assert "loaded" not in vars(deferred)
    read = deferred(["a llama"], padding=True, return_tensors="pt")
    plain = load_sentence_tokenizer(tmp_path)(["a llama"], padding=True, return_tensors="pt")
    assert read["input_ids"].tolist() == plain["input_ids"].tolist()
    deferred.save_pretrained(tmp_path / "copy")
    assert load_sentence_tokenizer(tmp_path / "copy")
