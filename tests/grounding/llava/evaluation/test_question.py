import json

import pytest

from grounding.errors import PromptError
from grounding.llava.evaluation.question import Question, read_answers, write_questions

QUESTIONS = [
    Question(text="Is there a dog?", image="a.png", task="random", kind="yes-no", label="yes"),
    Question(
        text="Where is it?", image="a.png", task="referring", kind="box", label=(0.0, 0.0, 1.0, 0.5)
    ),
]


def lines(*records):
    return "\n".join(json.dumps(record) for record in records) + "\n"


def test_questions_are_pope_lines():
    first, second = map(json.loads, write_questions(QUESTIONS, "\nShort.").decode().splitlines())
    assert first == {
        "question_id": 1,
        "image": "a.png",
        "text": "Is there a dog?\nShort.",
        "label": "yes",
        "task": "random",
        "kind": "yes-no",
    }
    assert second["label"] == [0.0, 0.0, 1.0, 0.5]


@pytest.mark.parametrize(
    "records",
    [
        [{"question": "Is there a dog?", "answer": "no"}, {"answer": "there"}],
        [{"question_id": 2, "answer": "there"}, {"question_id": 1, "answer": "no"}],
        [
            {"question_id": 1, "prompt": "Is there a dog?\nShort.", "text": "no"},
            {"question_id": 2, "prompt": "Where is  it?", "text": "there"},
        ],
        [{"question_id": 1, "text": "no"}, {"question_id": 2, "text": "there"}],
    ],
)
def test_answers_in_the_forms_of_pope_ours_and_llava(records, tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(lines(*records))
    assert read_answers(path, QUESTIONS, "\nShort.") == ["no", "there"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (lines({"answer": "no"}), "question 2 has none"),
        (lines({"question_id": 3, "answer": "no"}), "expected 1 to 2, got 3"),
        (lines(*[{"question_id": 1, "answer": "no"}] * 2), "has an answer already"),
        (lines({"question": "Is there a cat?", "answer": "no"}), "belong to other questions"),
        (lines({"question_id": 1, "text": "Is there a dog?"}), 'expected an "answer"'),
        ("[1]\n", "expected an object"),
        ("{\n", "line 1"),
    ],
)
def test_answers_to_something_else_are_refused_in_one_line(text, problem, tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(text)
    with pytest.raises(PromptError, match=problem) as caught:
        read_answers(path, QUESTIONS)
    assert "\n" not in str(caught.value)
