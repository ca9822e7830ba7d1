"""How layouts are asked for, and what of an answer is taken."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import LavallamaError
from grounding.planning.agreement import agree
from grounding.planning.caption import read_caption
from pipelines.planning.form import EXAMPLES, LgdForm, StickerForm


@pytest.mark.parametrize(("caption", "answer"), EXAMPLES)
def test_the_examples_are_right(caption, answer) -> None:
    read = LgdForm().read(answer)
    assert read.repairs == ()
    graph = read_caption(caption)
    found = agree(read.document, graph)
    assert [one for one in found.findings if one.kind != "extra"] == []


def test_the_caption_is_asked_last() -> None:
    conversation = LgdForm().ask("a llama")
    assert conversation.system is not None
    assert conversation.turns[-1].text == "Caption: a llama"
    assert len(conversation.turns) == 2 * len(EXAMPLES) + 1
    assert StickerForm().ask("a llama.").turns[-1].text == "Plan a layout: a llama."


def test_an_answer_with_talk_around_it_is_read_and_cut_to_the_canvas() -> None:
    text = (
        "Sure! Here is the layout:\nObjects: [('a llama', [-50, 256, 306, 512]), "
        "('bus', [600, 10, 50, 50])]\nBackground prompt: a beach\nNegative prompt: None\nEnjoy."
    )
    answer = LgdForm().read(text)
    [region] = answer.document.regions
    assert (region.phrase, region.box) == ("a llama", (0, 0.5, 0.5, 1))
    assert answer.repairs == (
        "cut a llama to the canvas",
        "dropped bus: its box is not on the canvas",
    )


def test_lines_of_the_embedded_model_are_read() -> None:
    text = "lava llama: [0.04, 0.10, 0.44, 0.48]\nvolcano: [0.53, 0.22, 0.95, 0.77]"
    regions = StickerForm().read(text).document.regions
    assert [(r.phrase, r.box) for r in regions] == [
        ("lava llama", (0.04, 0.1, 0.44, 0.48)),
        ("volcano", (0.53, 0.22, 0.95, 0.77)),
    ]


HOSTILE = st.sampled_from(
    [
        "__import__('os').system('x')",
        "Objects: [('a', [1e999, 0, 5, 5])]",
        "Objects: [('a', [nan, 0, 5, 5])]",
        "Objects: [('a', [0, 0, -5, 5])]",
        "Objects: [('a', [0, 0, 5",
        "Objects: None",
        "[[[[[[[[",
        "llama: [0.9, 0.9, 0.1, 0.1]",
        "llama: [9, 9, 9, 9]",
        "",
    ]
)


@pytest.mark.parametrize("form", [LgdForm(), StickerForm()])
@given(text=HOSTILE | st.text(max_size=80).map(lambda text: f"Objects: [{text}"))
def test_no_answer_does_more_than_be_refused(form, text) -> None:
    with contextlib.suppress(LavallamaError):
        assert form.read(text).document.regions
