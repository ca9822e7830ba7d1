"""Code beside weights is not run, and nobody is asked whether it should be."""

import json

import pytest
import torch
from transformers import AutoConfig

from gligen.evaluation.transformers_detector import load_detector
from grounding.errors import LavallamaError
from tests.grounding.llava import tiny
from weights.language_model import load_text_chat
from weights.llava_assemble import assemble_llava
from weights.llava_chat import load_chat_tokenizer

CODE = """
from pathlib import Path
Path({canary!r}).write_text("ran")
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizer
class Own(PretrainedConfig): model_type = "own"
class Model(PreTrainedModel): config_class = Own
class Tokenizer(PreTrainedTokenizer): pass
"""
AUTO_MAP = {
    "AutoConfig": "own.Own",
    "AutoModel": "own.Model",
    "AutoModelForCausalLM": "own.Model",
    "AutoTokenizer": ["own.Tokenizer", None],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model of a kind of its own, at a terminal where every question is answered with yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    place = tmp_path / "model"
    place.mkdir()
    (place / "own.py").write_text(CODE.format(canary=str(tmp_path / "canary")))
    config = {"model_type": "own", "auto_map": AUTO_MAP, "tokenizer_class": "Tokenizer"}
    for name in ("config.json", "tokenizer_config.json"):
        (place / name).write_text(json.dumps(config))
    return place


def open_language_model(folder):
    tiny.tokenizer().save_pretrained(folder)
    return load_text_chat(folder)


@pytest.mark.parametrize(
    "opened",
    [
        open_language_model,
        load_chat_tokenizer,
        lambda folder: load_detector(str(folder), device=torch.device("cpu")),
        lambda folder: assemble_llava(folder, folder, projector="linear", aspect="pad"),
    ],
)
def test_what_brings_its_own_code_is_refused(opened, folder):
    with pytest.raises(LavallamaError, match=r"code of its own, which is never run") as error:
        opened(folder)
    assert "\n" not in str(error.value)
    assert not (folder.parent / "canary").exists()


def test_the_code_would_run(folder):
    AutoConfig.from_pretrained(folder, trust_remote_code=True)
    assert (folder.parent / "canary").exists()
