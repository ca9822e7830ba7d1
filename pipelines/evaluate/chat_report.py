"""What a chat model's answers measured, as Markdown tables."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["report"]

Result = Mapping[str, Any]

POPE = ("random", "popular", "adversarial")
QUESTIONS = ("counting", "attribute", "relation", "plan")
NAMES = {"plan": "layouts as asked for"}


def report(results: Result, pictures: Sequence[str] = ()) -> str:
    """Write a report.

    Args:
        results: "model", "data", "after", "left_out", and by task what
            `pipelines.evaluate.chat_marks.measured` returns.
        pictures: Files of examples to show, relative to the report.
    """
    lines = [f"# Chat with `{results['model']}`", "", f"On {results['data']}."]
    if results.get("after"):
        lines[-1] += f" After each question it is said: `{' '.join(results['after'].split())}`"
    for table in (_pope, _questions, _referring, _captions, _fits):
        block = table(results)
        lines += ["", *block] if block else []
    if pictures:
        lines += ["", "## Examples", "", "The right answer in brackets; white: the right box."]
        lines += [line for name in pictures for line in ("", f"![{name}]({name})")]
    lines += ["", "## Left out", ""]
    lines += [f"- {count} {what}" for what, count in results["left_out"].items()] or ["Nothing."]
    return "\n".join(lines) + "\n"


def _pope(results: Result) -> list[str]:
    return _table(
        "Objects that are there, or not",
        "POPE (arXiv 2305.10355): as many questions have the answer yes as no. Precision, recall "
        "and F1 of yes; the share of yes.",
        {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1"}
        | {"yes_ratio": "yes", "unread": "not understood"},
        results,
        POPE,
    )


def _questions(results: Result) -> list[str]:
    return _table(
        "Questions",
        "The share that is right, and that of who always gives the most frequent answer.",
        {"accuracy": "accuracy", "majority": "always the same", "unread": "not understood"},
        results,
        QUESTIONS,
    )


def _referring(results: Result) -> list[str]:
    return _table(
        "Boxes",
        "The box of what a phrase names; without a box the IoU is 0.",
        {"iou": "mean IoU", "acc50": "Acc@0.5", "unread": "without a box"},
        results,
        ("referring",),
    )


def _captions(results: Result) -> list[str]:
    return _table(
        "Descriptions",
        "Recall: objects that are named. CHAIR (arXiv 1809.02156): of the objects that are named, "
        "and of the descriptions, the share that is made up. Exact: names all, with what they are "
        "made of, and nothing else.",
        {"recall": "recall", "chair_i": "CHAIRi", "chair_s": "CHAIRs", "exact": "exact"},
        results,
        ("caption",),
    )


def _fits(results: Result) -> list[str]:
    return _table(
        "Which caption fits",
        "Two captions of the same words, two pictures (as Winoground, arXiv 2204.03162). Text "
        "score: both pictures of a pair are answered rightly; a guess has 0.25.",
        {"accuracy": "accuracy", "pairs": "pairs", "text_score": "text score"}
        | {"unread": "not understood"},
        results,
        ("fits",),
    )


def _table(
    title: str, what: str, columns: Mapping[str, str], results: Result, tasks: Sequence[str]
) -> list[str]:
    """A table of some tasks, by group; nothing if none was measured."""
    rows = [
        [NAMES.get(task, task), group, row["questions"], *(row.get(key, "-") for key in columns)]
        for task in tasks
        if task in results
        for group, row in results[task].items()
    ]
    if not rows:
        return []
    head = ["", "scenes" if any(row[1] != "all" for row in rows) else "", "number"]
    lines = [f"## {title}", "", what, "", f"| {' | '.join((*head, *columns.values()))} |"]
    lines.append(f"|{'---|' * (len(head) + len(columns))}")
    return lines + [f"| {' | '.join(map(_cell, row))} |" for row in rows]


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
