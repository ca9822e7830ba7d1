"""What a teacher writes is read, or refused in one line; nothing else happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import AnswerError
from grounding.llava.instruct.exchange import LONGEST_ANSWER, MOST, read_answer, read_exchanges
from grounding.llava.instruct.lesson import LESSONS

PAIR = "What is there?\n===\nA llama."
PIECES = st.sampled_from(
    ["===", "=====", " === ", "Question:", "Answer:", "Q1.", "**Answer**:", "A llama", "```", ""]
    + ["User: hi", "<image>", "\0", "\ud800", "__import__('os')", "[0.1, 0.2", "Ünïcode", "A:"]
)


@pytest.mark.parametrize(
    "text",
    [
        PAIR,
        "Question:\nWhat is there?\n===\nAnswer:\nA llama.",
        "**Question:** What is there?\n\n  =====  \n\nAnswer: A llama.\n===\n",
        "```text\nQ: What is there?\n===\nA: A llama.\n```",
        "===\nQuestion 1: What is there?\r\n===\r\nAnswer 1: A llama.\r\n===",
        "Question:\n===\nWhat is there?\n===\nAnswer:\n===\nA llama.",
    ],
)
def test_one_exchange_in_many_dresses(text):
    [exchange] = read_exchanges(text)
    assert (exchange.question, exchange.answer) == ("What is there?", "A llama.")


def test_a_long_conversation_keeps_its_order():
    text = "\n===\n".join(f"Question {n}?\n===\nAnswer {n}\nand more." for n in range(3, 6))
    exchanges = read_exchanges(text)
    assert [one.answer for one in exchanges] == [f"Answer {n}\nand more." for n in (3, 4, 5)]


@pytest.mark.parametrize("answer", ["A", "Person.", "A llama.", "(none)", "Human beings"])
def test_words_that_look_like_labels_stay(answer):
    [exchange] = read_exchanges(f"Who is there?\n===\n{answer}")
    assert exchange.answer == answer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got none"),
        ("I cannot see pictures.", "got none"),
        (f"{PAIR}\n===\nAnd?", "the last has none"),
        ("Question: a?\n===\nQuestion: b?", "two of one kind"),
        ("Answer: a.\n===\nQuestion: b?", "two of one kind"),
        ("a?\n===\n...", "expected words in each answer"),
        (f"a?\n===\n{'long ' * LONGEST_ANSWER}", "at most 6000 characters"),
        ("\n===\n".join([PAIR] * (MOST + 1)), f"at most {MOST} questions"),
        ("a?\n===\nb <image>", "the mark <image>"),
        ("a?\n===\nb \ufffd", "control characters"),
        ("a?\n===\nb \ud800", "lone surrogate"),
    ],
)
def test_what_is_not_in_the_form_is_refused(text, message):
    with pytest.raises(AnswerError, match=message):
        read_exchanges(text)


def test_an_answer_alone():
    [exchange] = read_answer("Answer:\nA llama  stands.\n\n\n\nA dog runs.", "Describe it.")
    assert exchange.question == "Describe it."
    assert exchange.answer == "A llama stands.\n\nA dog runs."
    with pytest.raises(AnswerError, match="got 2 parts"):
        read_answer(PAIR, "Describe it.")
    with pytest.raises(AnswerError, match="got 0 parts"):
        read_answer("===", "Describe it.")


@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("\n".join)))
def test_any_text_is_exchanges_or_our_error(text):
    for read in (read_exchanges, lambda words: read_answer(words, "What?")):
        try:
            exchanges = read(text)
        except AnswerError:
            continue
        for exchange in exchanges:
            assert exchange.question.strip()
            assert exchange.answer.strip()
            (exchange.question + exchange.answer).encode()
            assert "<image>" not in exchange.question + exchange.answer


def test_our_examples_are_as_we_want_answers():
    for lesson in LESSONS.values():
        for _, answer in lesson.examples:
            read = (
                read_answer(answer, "Describe it.") if lesson.questions else read_exchanges(answer)
            )
            assert read
