"""The chat command, with a model of a few thousand parameters and with one behind a server."""

import io
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from grounding.llava.box_text import DIALECTS as ALL_DIALECTS
from grounding.llava.template import TEMPLATES as ALL_TEMPLATES
from grounding.masks import rle_to_bitmap
from grounding.prompt import GroundedPrompt
from pipelines import chat
from pipelines.conversation import options as chat_options
from pipelines.conversation import speech
from pipelines.segmentation import segmenter
from tests.grounding.llava import tiny
from tests.grounding.llava.test_endpoint import DONE, Server, event, server
from tests.pipelines.recogniser import tone, write_wav
from tests.seem.predicting import tiny_predictor
from weights.llava import llava_state, write_llava

__all__ = ["server"]  # a fixture
MORE = ["--max-tokens", "6"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    made = tiny.llava()
    folder = tmp_path_factory.mktemp("llava")
    write_llava(llava_state(made), made.config, folder, tokenizer=tiny.tokenizer())
    return str(folder)


@pytest.fixture
def image(tmp_path) -> str:
    tiny.picture(40, 30).save(tmp_path / "llama.png")
    return str(tmp_path / "llama.png")


def test_a_model_on_this_machine_answers(model, image, capsys, tmp_path):
    out = tmp_path / "answer.json"
    asked = [image, "What is it?", "--model", model, "--region", "4,3,20,15", *MORE]
    assert chat.main([*asked, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.endswith(f"{out}\n")
    document = GroundedPrompt.load(out)
    question, answer = document.messages
    assert [content.type for content in question.content] == ["text", "region"]
    assert said.startswith(answer.content[0].text)
    assert document.regions[0].box == (0.1, 0.1, 0.5, 0.5)
    for showing in ("marks", "crops"):
        assert chat.main([*asked, "--show", showing]) == 0
        assert capsys.readouterr().out.strip()


def test_an_endpoint_answers_with_regions(server: Server, image, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("CHAT_KEY", "secret")
    server.says(event("The llama [0.00, 0.12, ") + event("0.50, 0.88].") + DONE)
    out = tmp_path / "answer.json"
    remote = ["--model", server.url, "--served-model", "m", "--key-variable", "CHAT_KEY"]
    assert chat.main([image, "Where?", *remote, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    # the padded square's 0.12 is a hair above the picture
    assert lines == ["The llama [0.00, 0.12, 0.50, 0.88].", "a1 The llama at 0,0,20,30", str(out)]
    [region] = GroundedPrompt.load(out).regions
    assert region.box == pytest.approx((0, 0, 0.5, 1))
    [(_, headers, body)] = server.requests
    assert headers["Authorization"] == "Bearer secret"
    assert body["messages"][0]["content"][1] == {"type": "text", "text": "Where?"}


def test_answers_are_segmented_and_drawn(server: Server, image, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(segmenter, "open_predictor", lambda *_, **__: tiny_predictor())
    server.says(event("The dog [0.00, 0.12, 0.90, 0.88].") + DONE)
    out, overlay = tmp_path / "answer.json", tmp_path / "found.png"
    remote = ["--model", server.url, "--served-model", "m", "--masks"]
    places = ["--out", str(out), "--overlay", str(overlay)]
    assert chat.main([image, "Where?", *remote, *places]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [str(overlay), str(out)]
    document = GroundedPrompt.load(out)
    [region] = document.regions
    assert document.files == {"overlay": "found.png"}
    assert document.image == Path(image).name
    if region.mask is not None:  # a tiny random model may find nothing
        assert rle_to_bitmap(region.mask).shape == (30, 40)
    with Image.open(overlay) as drawn:
        assert drawn.size[0] * 30 == drawn.size[1] * 40


def test_a_question_can_be_spoken(server: Server, image, capsys, tmp_path, monkeypatch):
    write_wav(tmp_path / "question.wav", tone())
    monkeypatch.setattr(speech, "load_recogniser", lambda *_, **__: lambda sound: "what is it")
    server.says(event("A llama.") + DONE)
    out, recording = tmp_path / "answer.json", str(tmp_path / "question.wav")
    remote = ["--model", server.url, "--served-model", "m", "--out", str(out)]
    assert chat.main([image, "--audio", recording, "--asr", "any", *remote]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["heard: what is it", "A llama."]
    [(_, _, body)] = server.requests
    assert body["messages"][0]["content"][1] == {"type": "text", "text": "what is it"}
    [content] = GroundedPrompt.load(out).messages[0].content
    assert (content.audio, content.transcript) == ("question.wav", "what is it")


def test_questions_are_read_from_the_terminal(server: Server, image, capsys, monkeypatch):
    server.says(event("Yes.") + DONE)
    monkeypatch.setattr(sys, "stdin", io.StringIO("Is it a llama?\nOf lava?\n\nnot read\n"))
    assert chat.main([image, "--model", server.url, "--served-model", "m"]) == 0
    assert capsys.readouterr().out == "Yes.\nYes.\n"
    last = server.requests[-1][2]["messages"]
    assert [message["role"] for message in last] == ["user", "assistant", "user"]
    assert last[1]["content"] == "Yes."


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["What?", "--model", "http://h/v1"], "needs --served-model"),
        (["What?", "--model", "x", "--served-model", "m"], "are for a --model at an address"),
        (
            ["What?", "--model", "http://h/v1", "--served-model", "m", "--bits", "4"],
            "--bits is for a model on this machine",
        ),
        ([" ", "--model", "x"], "the question is empty"),
        (["What?", "--model", "x", "--audio", "a", "--asr", "b"], "not both"),
        (["--model", "x", "--audio", "a.wav"], "--audio needs --asr"),
        (["--model", "x", "--audio", "/no/such.wav", "--asr", "b"], "no such file"),
        (["What?", "--model", "x", "--top-p", "0.5"], "give --temperature above 0"),
        (["What?", "--model", "x", "--region", "5,5,1,1"], "needs X0 < X1"),
        (["What?", "--model", "x", "--dialect", "latin"], "invalid choice"),
        (["What?", "--model", "/no/such/model", "--offline"], "/no/such/model"),
        (["What?", "--model", "x/y", "--offline"], "x/y is not on this machine"),
        (["What?", "--model", "x", "--region", "90,90,95,95"], "lies beside the picture"),
        (["What?", "--model", "x", "--out", "."], "is a folder"),
        (["What?", "--model", "x", "--overlay", "IMAGE"], "would be replaced"),
        (["What?", "--model", "x", "--overlay", "a.x", "--out", "a.x"], "would be replaced"),
        (
            ["What?", "--model", "http://127.0.0.1:1/v1", "--served-model", "m"],
            "cannot be reached",
        ),
    ],
)
def test_what_is_wrong_is_one_line(arguments, problem, image, capsys, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    try:
        code = chat.main([image, *(image if word == "IMAGE" else word for word in arguments)])
    except SystemExit as left:
        code = left.code
    assert code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lavallama chat: error: ")
    assert problem in line


def test_a_broken_model_is_one_line(model, image, capsys, tmp_path):
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"x")
    assert chat.main([image, "What?", "--model", str(broken)]) == 2
    assert "not a complete safetensors file" in capsys.readouterr().err
    assert chat.main(["/no/such.png", "What?", "--model", model]) == 2
    assert "no such file" in capsys.readouterr().err


def test_the_choices_are_all_there_is():
    assert set(chat_options.DIALECTS) == set(ALL_DIALECTS)
    assert set(chat_options.TEMPLATES) == set(ALL_TEMPLATES)
