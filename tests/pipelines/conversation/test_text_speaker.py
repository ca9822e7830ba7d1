"""Whoever answers in words is opened by what a folder holds."""

import pytest
from transformers import AutoModelForCausalLM

from grounding.errors import CheckpointError
from grounding.llava.chat import Chat
from grounding.llava.endpoint import Endpoint
from grounding.llava.text_chat import TextChat
from pipelines import plan
from pipelines.conversation.text_speaker import open_text_speaker
from tests.grounding.llava import tiny
from weights.llava import llava_state, write_llava


@pytest.fixture(scope="module")
def language_model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("language")
    AutoModelForCausalLM.from_config(tiny.text()).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


def test_a_language_model_is_spoken_with(language_model) -> None:
    assert isinstance(open_text_speaker(language_model, offline=True), TextChat)


def test_a_llava_is_spoken_with(tmp_path) -> None:
    made = tiny.llava()
    write_llava(llava_state(made), made.config, tmp_path, tokenizer=tiny.tokenizer())
    assert isinstance(open_text_speaker(str(tmp_path), offline=True), Chat)


def test_an_endpoint_is_spoken_with() -> None:
    speaker = open_text_speaker("http://127.0.0.1:1/v1", served_model="m")
    assert isinstance(speaker, Endpoint)
    assert speaker.model == "m"


def test_a_folder_without_a_model_is_refused(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json that can be read"):
        open_text_speaker(str(tmp_path), offline=True)


def test_rules_lay_out_where_a_model_says_nothing_of_use(language_model, tmp_path, capsys) -> None:
    out = tmp_path / "a.json"
    asked = ["a dog left of a cat", "--model", language_model, "--offline", "--attempts", "1"]
    assert plan.main([*asked, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "an answer was not taken: " in said.err
    assert "the model gave no layout: rules laid out" in said.err
    assert "laid out by rules:" in said.out
    assert out.is_file()
