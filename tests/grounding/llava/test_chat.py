from itertools import product

import pytest
import torch

from grounding.errors import LavallamaError, PromptError
from grounding.llava.chat import Chat
from grounding.llava.conversation import Conversation
from grounding.llava.decoding import Decoding
from grounding.llava.quantization import quantize
from grounding.llava.stream import TextStream
from grounding.llava.template import find_template
from tests.grounding.llava import tiny

LANGUAGE_MODELS = ("llama", "phi3", "qwen2", "mistral", "gpt2", "mpt", "gpt_neox")
SHORT = Decoding(max_tokens=12)
SAMPLED = Decoding(max_tokens=12, temperature=1.0, top_p=0.9, seed=5)
QUESTIONS = [
    Conversation.of("What is it?", [tiny.picture(40, 30)]),
    Conversation.of("Why?"),
    Conversation.of("Compare these two, please.", [tiny.picture(9, 9), tiny.picture(50, 20)]),
]


def chat(version: str = "v1.5", kind: str = "llama", **more) -> Chat:
    return Chat(tiny.llava(version, kind, **more), tiny.tokenizer(), find_template("vicuna_v1"))


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_any_language_model_answers(kind):
    speaker = chat(kind=kind)
    answer = speaker.answer(QUESTIONS[0], SHORT)
    assert answer
    assert answer == speaker.answer(QUESTIONS[0], SHORT)


@pytest.mark.parametrize("version", ["v1", "v1.5", "next"])
def test_greedy_answers_are_those_of_generate(version):
    speaker = chat(version)
    words = speaker._prompt(QUESTIONS[0])
    made = speaker.model.language_model.generate(
        inputs_embeds=words[None],
        attention_mask=torch.ones(1, len(words), dtype=torch.long),
        max_new_tokens=12,
        do_sample=False,
    )
    expected = tiny.tokenizer().decode(made[0], skip_special_tokens=True)
    assert speaker.answer(QUESTIONS[0], SHORT) == expected.strip()


@pytest.mark.parametrize("decoding", [SHORT, SAMPLED])
def test_answers_do_not_depend_on_their_neighbours(decoding):
    speaker = chat("next")
    alone = [speaker.answer(question, decoding) for question in QUESTIONS]
    assert speaker.answers(QUESTIONS, decoding) == alone
    assert speaker.answers(QUESTIONS[::-1], decoding) == alone[::-1]
    assert speaker.answers(QUESTIONS, decoding, batch=3) == alone  # but for rounding


def test_padding_changes_scores_by_rounding_alone():
    from grounding.llava.decoding import _Steps

    for kind in LANGUAGE_MODELS:
        speaker = chat(kind=kind)
        prompts = [speaker._prompt(question) for question in QUESTIONS]
        with torch.inference_mode():
            together = _Steps(speaker.model.language_model, prompts).first()
            alone = [_Steps(speaker.model.language_model, [p]).first()[0] for p in prompts]
        torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=1e-5)


def test_seeds_choose_answers():
    speaker = chat()
    answers = {
        speaker.answer(QUESTIONS[0], Decoding(max_tokens=12, temperature=2.0, seed=seed))
        for seed in range(3)
    }
    assert len(answers) == 3
    torch.manual_seed(1)
    again = speaker.answer(QUESTIONS[0], Decoding(max_tokens=12, temperature=2.0, seed=0))
    assert again in answers
    narrow = Decoding(max_tokens=12, temperature=2.0, top_p=1e-6, seed=9)
    assert speaker.answer(QUESTIONS[0], narrow) == speaker.answer(QUESTIONS[0], SHORT)


def test_streams_add_up():
    speaker = chat()
    parts = list(speaker.stream(QUESTIONS[0], SHORT))
    assert len(parts) > 1
    assert all(parts)
    assert "".join(parts).strip() == speaker.answer(QUESTIONS[0], SHORT)


def test_an_answer_ends_at_the_stop_token():
    speaker = chat()
    words = speaker._prompt(QUESTIONS[0])
    with torch.inference_mode():
        first = speaker.model.language_model(inputs_embeds=words[None]).logits[0, -1].argmax()
    speaker.model.language_model.generation_config.eos_token_id = [int(first), 7]
    assert speaker.answer(QUESTIONS[0], SHORT) == ""


@pytest.mark.parametrize("text", ["A llama.</s>USER: more", "caf\u00e9 \U0001f999 ok", "a < b </"])
def test_text_comes_in_whole_characters_and_ends_before_the_stop(text):
    stream = TextStream(tiny.tokenizer(), "</s>")
    letters = [i for c in text for i in tiny.tokenizer().encode(c, add_special_tokens=False)]
    parts = [stream.push(token) for token in letters]
    assert "\ufffd" not in "".join(parts)
    assert "".join(parts) + stream.finish() == text.split("</s>")[0]
    assert stream.ended == ("</s>" in text)


def test_what_cannot_be_answered_is_refused():
    speaker = chat()
    with pytest.raises(PromptError, match="nothing to answer"):
        speaker.answer(Conversation(turns=QUESTIONS[1].then("So.", "?").turns[:2]))
    with pytest.raises(PromptError, match="tokens, the model reads 2048 at most"):
        speaker.answer(Conversation.of("a" * 3000))
    with pytest.raises(PromptError, match="batch must be"):
        speaker.answers(QUESTIONS, batch=0)
    for wrong in ({"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}):
        with pytest.raises(PromptError, match=next(iter(wrong))):
            Decoding(**wrong)


def test_quantisation_says_what_it_needs(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for bits in (4, 8):
        with pytest.raises(LavallamaError, match=f"{bits}-bit models need bitsandbytes"):
            quantize(tiny.llava(), bits)
    with pytest.raises(LavallamaError, match="must be 4 or 8"):
        quantize(tiny.llava(), 3)  # type: ignore[arg-type]


def test_views_are_those_of_the_pictures():
    for version, size in product(("v1", "v1.5", "next"), [(40, 30), (10, 70)]):
        speaker = chat(version)
        assert speaker.view(size) == speaker.reader(tiny.picture(*size)).view
