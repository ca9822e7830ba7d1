"""A question with its right answer, and files of them.

The files are POPE's (https://github.com/RUCAIBox/POPE): JSON lines with `question_id`, `image`,
`text` and `label`. Ours also say `task`, `kind`, `group`, `choices` and `pair`, where there are
any. Answers are JSON lines too, in POPE's form (`question`, `answer`), in ours (`question_id`,
`answer`) or in LLaVA's (`question_id`, `text`, and mostly `prompt`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from grounding.errors import PromptError
from grounding.geometry import Box
from grounding.jsonfile import describe, read_json_lines

__all__ = ["Kind", "Question", "read_answers", "write_questions"]

Kind = Literal["yes-no", "count", "choice", "letter", "box", "caption", "plan"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question.

    Attributes:
        text: As it is asked.
        image: Name of the picture; "": there is none.
        task: Under which it is reported: "counting".
        kind: How its answer is read (`grounding.llava.evaluation.reading`).
        label: The right answer: "yes" or "no", a number in digits, a choice, "A" or "B", a box, the
            things that a caption should name, or the request that a plan should fulfil.
        choices: What can be answered, or named in a caption or a plan; what A and B say.
        group: Of the picture; "" if there are no groups.
        pair: Questions with the same pair are right together or not at all; "": it has none.
    """

    text: str
    image: str
    task: str
    kind: Kind
    label: str | Box | tuple[str, ...]
    choices: tuple[str, ...] = ()
    group: str = ""
    pair: str = ""

    def to_dict(self, number: int) -> dict[str, Any]:
        """Return the question as plain JSON values.

        Args:
            number: Its id.
        """
        label = self.label if isinstance(self.label, str) else list(self.label)
        record = {"question_id": number, "image": self.image, "text": self.text, "label": label}
        more = {"task": self.task, "kind": self.kind, "group": self.group, "pair": self.pair}
        record |= {key: value for key, value in more.items() if value}
        return record | ({"choices": list(self.choices)} if self.choices else {})


def write_questions(questions: Sequence[Question], suffix: str = "") -> bytes:
    """Write questions as JSON lines; ids count from 1.

    Args:
        questions: In the order of their ids.
        suffix: Is said after each.
    """
    lines = []
    for number, question in enumerate(questions, 1):
        record = question.to_dict(number)
        record["text"] += suffix
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    return "".join(lines).encode()


def read_answers(path: Path, questions: Sequence[Question], suffix: str = "") -> list[str]:
    """Read the answers to questions from JSON lines.

    An answer with a `question_id` belongs to that question; without, the n-th answer belongs to the
    n-th question, and may say it in `question`.

    Args:
        path: Of the file.
        questions: As `write_questions` numbers them.
        suffix: As for `write_questions`.

    Raises:
        PromptError: An answer is missing, twice there, or to another question.
    """
    found: dict[int, str] = {}
    for place, (line, value) in enumerate(read_json_lines(path), 1):
        try:
            if isinstance(value, PromptError):
                raise value
            number, answer = _answer(place, value, questions, suffix)
            if number in found:
                raise PromptError(f"question {number} has an answer already")
        except PromptError as error:
            raise PromptError(f"{path}: line {line}: {error}") from None
        found[number] = answer
    missing = [number for number in range(1, len(questions) + 1) if number not in found]
    if missing:
        raise PromptError(
            f"{path}: expected answers to {len(questions)} questions, got {len(found)}: question "
            f"{missing[0]} has none; answer the file of --questions with the same --data and --seed"
        )
    return [found[number] for number in range(1, len(questions) + 1)]


def _answer(
    place: int, record: object, questions: Sequence[Question], suffix: str
) -> tuple[int, str]:
    """The number of a question, and its answer."""
    if not isinstance(record, Mapping):
        raise PromptError(f"expected an object, got {describe(record)}")
    number = record.get("question_id", place)
    if type(number) is not int or not 1 <= number <= len(questions):
        raise PromptError(f"question_id: expected 1 to {len(questions)}, got {describe(number)}")
    asked = questions[number - 1].text
    answer = record.get("answer", record.get("text"))
    if "prompt" not in record and answer == asked:
        answer = None  # the file of questions itself
    if not isinstance(answer, str):
        raise PromptError(f'expected an "answer" in words, got {describe(answer)}')
    said = record.get("question", record.get("prompt"))
    if isinstance(said, str) and _plain(said) not in (_plain(asked), _plain(asked + suffix)):
        raise PromptError(
            f"answers {describe(said)}, but question {number} is {describe(asked)}: "
            "the answers belong to other questions"
        )
    return number, answer


def _plain(words: str) -> str:
    return " ".join(words.split())
