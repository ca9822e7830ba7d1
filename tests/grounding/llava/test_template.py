import json
from pathlib import Path

import pytest
from PIL import Image

from grounding.errors import PromptError
from grounding.llava.conversation import Conversation, Turn
from grounding.llava.template import IMAGE, TEMPLATES, fence, find_template

# Written by llava/conversation.py of haotian-liu/LLaVA, commit c121f04 (and preprocess_plain of
# train.py), for the conversations below; llava_llama_3 by the chat template of Llama 3, which
# LLaVA-NeXT applies, without the token that opens a text.
GOLDEN: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parents[2] / "golden" / "llava_prompts.json").read_text()
)
PICTURE = Image.new("RGB", (4, 4))


def user(*content) -> Turn:
    return Turn(role="user", content=content)


def assistant(text: str) -> Turn:
    return Turn(role="assistant", content=(text,))


CONVERSATIONS = {
    "question": Conversation(turns=(user(PICTURE, "What is this?"),)),
    "dialogue": Conversation(
        turns=(
            user(PICTURE, "What is this?"),
            assistant("A llama."),
            user("Of what?"),
            assistant("Of lava."),
        )
    ),
    "open": Conversation(turns=(user("Hello."), assistant("Hi."), user("Name a colour."))),
    "caption": Conversation(turns=(user(PICTURE, "Describe."), assistant("A llama of lava."))),
}


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, cases in GOLDEN.items() for case in cases]
)
def test_prompts_are_the_originals_to_the_character(name, case):
    assert TEMPLATES[name].render(CONVERSATIONS[case]) == GOLDEN[name][case]


def test_every_template_has_a_golden_prompt():
    assert GOLDEN.keys() == TEMPLATES.keys()


@pytest.mark.parametrize("name", TEMPLATES)
def test_targets_are_the_answers_and_what_ends_them(name):
    pieces = TEMPLATES[name].pieces(CONVERSATIONS["dialogue"])
    said = [piece.text for piece in pieces if piece.target]
    end = {"llama_2": " </s>", "two": "</s>", "chatml": "<|im_end|>", "plain": "\n"}
    ends = "<|eot_id|>" if name == "llava_llama_3" else end[TEMPLATES[name].style]
    assert "".join(map(str, said)) == "".join(
        f"{words}{ends}" for words in ("A llama.", "Of lava.")
    )


def test_pictures_come_first_and_marks_in_the_words_are_taken_out():
    conversation = Conversation(turns=(user("Left", PICTURE, "or <image>right?", PICTURE),))
    prompt = find_template("mistral_instruct").render(conversation)
    assert prompt == "[INST] <image>\n<image>\nLeft or right? [/INST]"
    pieces = find_template("mistral_instruct").pieces(conversation)
    assert [piece.text is IMAGE for piece in pieces] == [False, True, False, True, False]


def test_a_system_message_replaces_the_templates():
    conversation = Conversation(turns=(user("Hi."),), system="Be brief.")
    assert find_template("vicuna_v1").render(conversation) == "Be brief. USER: Hi. ASSISTANT:"
    expected = "<|im_start|>system\nBe brief.<|im_end|><|im_start|>user\nHi.<|im_end|>"
    assert find_template("mpt").render(conversation).startswith(expected)
    with pytest.raises(PromptError, match="no system message"):
        find_template("plain").render(conversation)


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        ((), "needs a turn"),
        ((assistant("Hi."),), "turn 0 must be the user's"),
        ((user("a"), user("b")), "turn 1 must be the assistant's"),
        ((user("a"), Turn(role="assistant", content=(PICTURE,))), "only the user can show"),
    ],
)
def test_turns_alternate(turns, problem):
    with pytest.raises(PromptError, match=problem):
        Conversation(turns=turns)


def test_unknown_templates_are_refused_with_the_choice():
    with pytest.raises(PromptError, match="choose from vicuna_v1, "):
        find_template("vicuna")


def test_fences_stand_around_pictures():
    pieces = fence(find_template("llava_v1").pieces(CONVERSATIONS["question"]))
    texts = [piece.text for piece in pieces]
    assert texts[1] is IMAGE
    assert str(texts[0]).endswith("USER: <im_start>")
    assert str(texts[2]).startswith("<im_end>\nWhat")
