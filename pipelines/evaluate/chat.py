"""Measure how well a chat model sees: ``python -m pipelines.evaluate chat``."""

import argparse
import io
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grounding.drops import DROPPED
from grounding.errors import PromptError
from grounding.files import check_writable, write_files
from grounding.stickers.world import PRESETS, Split
from pipelines.console import guarded, quiet_libraries
from pipelines.evaluate.chat_options import PICTURES, PROG, TASKS, chat_options

if TYPE_CHECKING:
    from grounding.geometry import CanvasMap, Size
    from grounding.llava.evaluation.question import Question
    from grounding.llava.evaluation.subject import Subject
    from pipelines.evaluate.chat_data import ChatData
    from pipelines.evaluate.chat_marks import Mark

__all__ = ["main"]

DIGITS = 4  # of the numbers in report.json


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task; returns the exit code."""
    options = chat_options(argv)
    return guarded(PROG, lambda: _evaluate(options))


def _evaluate(options: argparse.Namespace) -> int:
    out: Path | None = options.out
    places = [options.questions] if options.questions else []
    places += [out / "report.md", out / "report.json", out / "pictures" / "x.png"] if out else []
    check_writable(places)
    from grounding.llava.evaluation.question import write_questions

    data = _data(options)
    if options.strict:
        data.drops.refuse(options.data)
    tasks = _chosen(options.tasks, data)
    questions, subjects = _questions(options, data, tasks)
    if not questions:
        raise PromptError(f"{data.what}: there is nothing to ask of the tasks {', '.join(tasks)}")
    if options.questions is not None:
        folder = options.questions.with_suffix("")
        pictures = {folder / name: _png(subjects[name]) for name in subjects if data.scenes}
        write_files({options.questions: write_questions(questions, options.after), **pictures})
        print(f"{options.questions}: {len(questions)} questions")
        return 0
    marks = _marks(options, questions, subjects)
    return _tell(options, data, marks, subjects)


def _tell(
    options: argparse.Namespace,
    data: "ChatData",
    marks: Sequence["Mark"],
    subjects: dict[str, "Subject"],
) -> int:
    """Print the report, and write it if there is a place."""
    from pipelines.evaluate.chat_marks import measured
    from pipelines.evaluate.chat_report import report

    out: Path | None = options.out
    results: dict[str, Any] = {
        "model": str(options.answers or options.served_model or options.model),
        "data": data.what,
        "seed": options.seed,
        "after": options.after,
        **_rounded(measured(marks)),
        "left_out": data.left_out | data.drops.counts(),
    }
    if out is not None:
        count = PICTURES if options.pictures is None else options.pictures
        sheets = _sheets(marks, subjects, count) if count else {}
        files = {out / "report.md": report(results, list(sheets)).encode()}
        files[out / "report.json"] = (json.dumps(results, indent=1) + "\n").encode()
        files[out / "answers.jsonl"] = _answer_lines(marks)
        write_files(files | {out / name: png for name, png in sheets.items()})
        data.drops.write(out / DROPPED)
    print(report(results))
    print(json.dumps(results))
    return 0


def _data(options: argparse.Namespace) -> "ChatData":
    from pipelines.evaluate.chat_data import Seeing, open_data

    def opened():
        quiet_libraries()
        from pipelines.segmentation.segmenter import open_predictor

        return open_predictor(options.segmenter, device=options.device, offline=options.offline)

    return open_data(
        options.data,
        world=PRESETS[options.preset],
        scenes=options.scenes,
        split=options.split,
        limit=options.limit,
        seeing=Seeing(open=opened, classes=options.classes),
    )


def _chosen(asked: tuple[str, ...] | None, data: "ChatData") -> tuple[str, ...]:
    """The tasks, in the order of the report."""
    for name in asked or ():
        if name not in data.tasks:
            raise PromptError(
                f"--tasks: {data.what} has nothing for {name!r}; it has {', '.join(data.tasks)}"
            )
    return tuple(name for name in TASKS if name in (asked or data.tasks))


def _questions(
    options: argparse.Namespace, data: "ChatData", tasks: Sequence[str]
) -> tuple[list["Question"], dict[str, "Subject"]]:
    """All questions, and the pictures they are about."""
    from grounding.llava.evaluation.pairs import pair_questions
    from grounding.llava.evaluation.pope import pope_questions
    from grounding.llava.evaluation.sticker_questions import plan_questions, twin_pairs

    seed, subjects = options.seed, {subject.name: subject for subject in data.subjects}
    questions: list[Question] = []
    for task in tasks:
        if task == "pope":
            questions += pope_questions(
                data.subjects,
                data.classes,
                each=options.each,
                seed=seed,
                same=_same_class if data.closed else _may_be_same,
            )
        elif task == "fits":
            pairs = data.pairs
            if data.scenes:
                pairs, others = twin_pairs(data.scenes, data.subjects, seed=seed)
                subjects |= {subject.name: subject for subject in others}
            questions += pair_questions(pairs, seed=seed)
        elif task == "plan":
            half = options.scenes // 2
            counts: dict[Split, int] = {"held-out": options.scenes - half, "held-out pairs": half}
            questions += plan_questions(PRESETS[options.preset], counts, seed=seed)
        else:
            questions += _about_each(options, data, task)
    return questions, subjects


def _about_each(options: argparse.Namespace, data: "ChatData", task: str) -> list["Question"]:
    """Questions of a task about each picture by itself."""
    from grounding.llava.evaluation.sticker_questions import sticker_questions
    from grounding.llava.evaluation.subject_questions import counting_questions, referring_questions

    if not data.scenes:
        make = {"counting": counting_questions, "referring": referring_questions}[task]
        return [question for subject in data.subjects for question in make(subject)]
    world = PRESETS[options.preset]
    return [
        question
        for scene, subject in zip(data.scenes, data.subjects, strict=True)
        for question in sticker_questions(task, scene, subject, world, seed=options.seed)
    ]


def _same_class(one: str, other: str) -> bool:
    return one == other


def _may_be_same(one: str, other: str) -> bool:
    """Whether two phrases can name one thing: the last word of one is in the other."""
    first, second = one.lower().split(), other.lower().split()
    return first[-1] in second or second[-1] in first


def _marks(
    options: argparse.Namespace, questions: Sequence["Question"], subjects: dict[str, "Subject"]
) -> list["Mark"]:
    """Ask, or read what another asked, and mark."""
    from grounding.llava.box_text import find_dialect
    from grounding.llava.evaluation.question import read_answers
    from pipelines.evaluate.chat_marks import mark

    dialect = find_dialect(options.dialect)
    view: Callable[[Size], CanvasMap] = dialect.view
    if options.answers is not None:
        answers = read_answers(options.answers, questions, options.after)
    else:
        answers, view = _asked(options, questions, subjects)
    sizes = {each.image for each in questions if each.kind == "box"}
    views = {name: view(subjects[name].picture().size) for name in sizes}
    return [
        mark(question, answer, dialect, views.get(question.image))
        for question, answer in zip(questions, answers, strict=True)
    ]


def _asked(
    options: argparse.Namespace, questions: Sequence["Question"], subjects: dict[str, "Subject"]
) -> "tuple[list[str], Callable[[Size], CanvasMap]]":
    """What a model answers, and where pictures lie on its canvas of boxes."""
    quiet_libraries()
    from grounding.llava.box_text import find_dialect
    from grounding.llava.decoding import Decoding
    from pipelines.conversation.speaker import box_view, open_speaker
    from pipelines.evaluate.chat_asking import ask_all

    for name in [question.image for question in questions if question.image][:1]:
        subjects[name].picture()  # pictures that are not there are said before a model is loaded
    speaker = open_speaker(
        options.model,
        served_model=options.served_model,
        key_variable=options.key_variable,
        base=options.base,
        template=options.template,
        device=options.device,
        dtype=options.dtype,
        bits=options.bits,
        offline=options.offline,
    )
    answers = ask_all(
        speaker,
        questions,
        subjects,
        decoding=Decoding(max_tokens=options.max_tokens),
        batch=options.batch,
        after=options.after,
    )
    dialect = find_dialect(options.dialect)
    return answers, lambda size: box_view(speaker, dialect, size)


def _sheets(
    marks: Sequence["Mark"], subjects: dict[str, "Subject"], count: int
) -> dict[str, bytes]:
    from pipelines.evaluate.chat_pictures import chosen_examples, example_sheet

    tasks: defaultdict[str, list[Mark]] = defaultdict(list)
    for each in marks:
        tasks[each.question.task].append(each)
    return {
        f"pictures/{task}.png": example_sheet(chosen_examples(some, count), subjects)
        for task, some in tasks.items()
    }


def _answer_lines(marks: Sequence["Mark"]) -> bytes:
    """The questions with their answers: a file for `--answers`, and to look at."""
    lines = [
        json.dumps(
            {**each.question.to_dict(number), "answer": each.answer, "right": each.is_right},
            ensure_ascii=False,
        )
        for number, each in enumerate(marks, 1)
    ]
    return ("\n".join(lines) + "\n").encode()


def _png(subject: "Subject") -> bytes:
    file = io.BytesIO()
    subject.picture().save(file, "PNG")
    return file.getvalue()


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, DIGITS) if isinstance(value, float) else value
