"""A language model that is spoken with in words: as transformers itself would."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from grounding.errors import CheckpointError, PromptError
from grounding.llava.conversation import Conversation, Turn
from grounding.llava.decoding import Decoding
from grounding.llava.text_chat import TextChat
from tests.grounding.llava import tiny
from weights.language_model import load_text_chat

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('none') }}{% endif %}"
TALK = Conversation(
    system="Be brief.",
    turns=(
        Turn(role="user", content=("Hello",)),
        Turn(role="assistant", content=("Hi",)),
        Turn(role="user", content=("What is a llama?",)),
    ),
)
SHORT = Decoding(max_tokens=8)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(tiny.text()).eval()


@pytest.fixture
def tokenizer():
    import copy

    return copy.deepcopy(tiny.tokenizer())


def test_it_answers_as_transformers_does(model, tokenizer):
    tokenizer.chat_template = TEMPLATE
    messages = [{"role": "system", "content": "Be brief."}]
    messages += [{"role": turn.role, "content": turn.text} for turn in TALK.turns]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, pad_token_id=1
    )
    expected = tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
    assert TextChat(model, tokenizer).answer(TALK, SHORT) == expected.strip()


def test_without_a_template_turns_are_plain(model, tokenizer):
    chat = TextChat(model, tokenizer)
    said = tokenizer.decode(chat._ids(TALK), skip_special_tokens=True)
    assert said == "Be brief.\nUser: Hello\nAssistant: Hi\nUser: What is a llama?\nAssistant:"
    assert chat.answer(TALK, SHORT) == chat.answer(TALK, SHORT)


def test_a_template_without_a_system_message_has_it_in_the_first_turn(model, tokenizer):
    tokenizer.chat_template = NO_SYSTEM + TEMPLATE
    said = tokenizer.decode(TextChat(model, tokenizer)._ids(TALK))
    assert "user: Be brief.\n\nHello" in said


def test_what_it_cannot_read_is_refused(model, tokenizer):
    chat = TextChat(model, tokenizer)
    with pytest.raises(PromptError, match="reads words alone"):
        chat.answer(Conversation.of("What is it?", [tiny.picture(8, 8)]))
    with pytest.raises(PromptError, match="the last turn must be the user's"):
        chat.answer(Conversation(turns=TALK.turns[:2]))
    with pytest.raises(PromptError, match="are more than the"):
        chat.answer(Conversation.of("long " * 4000), SHORT)


def test_a_folder_of_transformers_is_loaded(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_text_chat(tmp_path)
    assert loaded.answer(TALK, SHORT) == TextChat(model, tokenizer).answer(TALK, SHORT)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is no language model"):
        load_text_chat(tmp_path)
