"""Answers marked: what was understood, whether it is right, and the numbers of each task."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from grounding.errors import LavallamaError
from grounding.geometry import CanvasMap, box_iou, resize
from grounding.llava.box_text import Dialect
from grounding.llava.evaluation.question import Question
from grounding.llava.evaluation.reading import (
    named,
    read_choice,
    read_count,
    read_letter,
    read_yes_no,
)
from grounding.llava.evaluation.scores import (
    AGREES,
    box_scores,
    caption_scores,
    hit_scores,
    pair_score,
    yes_no_scores,
)
from grounding.llava.region_text import text_to_regions
from grounding.planning.agreement import agree
from grounding.planning.caption import read_caption
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from grounding.stickers.questions import PLAIN

__all__ = ["Mark", "mark", "measured"]

ALL = "all"
BARE = resize((512, 512), (512, 512))  # the canvas of a plan: any square
NO_MATERIAL = {PLAIN: ("nothing", "no material", "none")}


@dataclass(frozen=True, kw_only=True, eq=False)
class Mark:
    """One answer.

    Attributes:
        question: That was asked.
        answer: As it came.
        understood: Of its kind: True, 3, "lava", "A", regions ...; None: nothing.
        score: 1 if it is right, 0 if it is not; of a box its IoU.
    """

    question: Question
    answer: str
    understood: Any
    score: float

    @property
    def is_right(self) -> bool:
        """Whether it counts as right."""
        return self.score >= AGREES


def mark(question: Question, answer: str, dialect: Dialect, view: CanvasMap | None) -> Mark:
    """Read an answer by the rules of `grounding.llava.evaluation.reading`, and compare.

    Args:
        question: That was asked.
        answer: As it came.
        dialect: How boxes in it are written.
        view: Where the picture lies on the canvas of boxes; None: there is no picture.
    """
    kind, label = question.kind, question.label
    understood: Any
    if kind in ("box", "plan"):
        found = text_to_regions(answer, dialect, view or BARE)
        regions = tuple(region for region in found if region.box is not None)
        understood = regions or None
        score = _overlap(regions, label) if kind == "box" else _fulfils(regions, question)
    elif kind == "caption":
        understood = named(answer, question.choices)
        score = float(set(understood) == set(label))
    else:
        understood = _understood(question, answer)
        score = float(understood is not None and understood == _truth(question))
    return Mark(question=question, answer=answer, understood=understood, score=score)


def _understood(question: Question, answer: str) -> bool | int | str | None:
    if question.kind == "yes-no":
        return read_yes_no(answer)
    if question.kind == "count":
        return read_count(answer)
    if question.kind == "letter":
        return read_letter(answer, question.choices)
    return read_choice(answer, question.choices, NO_MATERIAL)


def _truth(question: Question) -> bool | int | str:
    label = str(question.label)
    if question.kind == "yes-no":
        return label == "yes"
    return int(label) if question.kind == "count" else label


def _overlap(regions: Sequence[Region], label: Any) -> float:
    box = regions[0].box if regions else None
    return 0.0 if box is None else box_iou(box, label)


def _fulfils(regions: Sequence[Region], question: Question) -> float:
    """1 if a layout shows all that was asked for, and nothing else."""
    if not regions:
        return 0.0
    try:
        document = GroundedPrompt(regions=tuple(regions))
        graph = read_caption(str(question.label), question.choices)
        return float(agree(document, graph, names=question.choices).is_right)
    except LavallamaError:  # such as phrases that cannot be read
        return 0.0


def measured(marks: Iterable[Mark]) -> dict[str, Any]:
    """The numbers of each task, by group and over all groups."""
    rows: defaultdict[str, defaultdict[str, list[Mark]]] = defaultdict(lambda: defaultdict(list))
    for each in marks:
        rows[each.question.task][each.question.group or ALL].append(each)
    return {
        task: {name: _numbers(some) for name, some in _with_all(groups).items()}
        for task, groups in rows.items()
    }


def _with_all(groups: dict[str, list[Mark]]) -> dict[str, list[Mark]]:
    if len(groups) == 1:
        return {ALL: next(iter(groups.values()))}
    return dict(groups) | {ALL: [each for some in groups.values() for each in some]}


def _numbers(marks: Sequence[Mark]) -> dict[str, Any]:
    """The scores; of what has few answers, also that of who always gives the most frequent one."""
    kinds = {each.question.kind for each in marks}
    scores = NUMBERS[kinds.pop()](marks) if len(kinds) == 1 else _hits(marks)
    if marks[0].question.kind in ("yes-no", "count", "choice", "letter"):
        [(_, most)] = Counter(each.question.label for each in marks).most_common(1)
        scores["majority"] = most / len(marks)
    return scores


def _yes_no(marks: Sequence[Mark]) -> dict[str, Any]:
    return yes_no_scores([(each.question.label == "yes", each.understood) for each in marks])


def _hits(marks: Sequence[Mark]) -> dict[str, Any]:
    return hit_scores([(each.is_right, each.understood is None) for each in marks])


def _letters(marks: Sequence[Mark]) -> dict[str, Any]:
    pairs = pair_score((each.question.pair, each.is_right) for each in marks)
    return _hits(marks) | pairs


def _boxes(marks: Sequence[Mark]) -> dict[str, Any]:
    return box_scores([None if each.understood is None else each.score for each in marks])


def _captions(marks: Sequence[Mark]) -> dict[str, Any]:
    rows: list[Any] = [(each.question.label, each.understood) for each in marks]
    return caption_scores(rows)


NUMBERS: dict[str, Callable[[Sequence[Mark]], dict[str, Any]]] = {
    "yes-no": _yes_no,
    "count": _hits,
    "choice": _hits,
    "letter": _letters,
    "plan": _hits,
    "box": _boxes,
    "caption": _captions,
}
