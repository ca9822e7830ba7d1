"""Numbers from answers: each function takes what was right and what was understood."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["AGREES", "box_scores", "caption_scores", "hit_scores", "pair_score", "yes_no_scores"]

AGREES = 0.5  # IoU from which a box is right (RefCOCO; arXiv 1608.00272)


def yes_no_scores(rows: Sequence[tuple[bool, bool | None]]) -> dict[str, Any]:
    """POPE's numbers (arXiv 2305.10355, section 5.2): "yes" is the positive class.

    Args:
        rows: What is right and what was understood; None counts as wrong, and as no yes.

    Returns:
        `questions`, `accuracy`, `precision`, `recall`, `f1`, `yes_ratio`, `unread`. A precision
        without a yes, and an f1 without a hit, is 0.
    """
    count = len(rows)
    hits = sum(truth and answer is True for truth, answer in rows)
    said = sum(answer is True for _, answer in rows)
    there = sum(truth for truth, _ in rows)
    return {
        "questions": count,
        "accuracy": _share(sum(truth is answer for truth, answer in rows), count),
        "precision": _share(hits, said),
        "recall": _share(hits, there),
        "f1": _share(2 * hits, said + there),
        "yes_ratio": _share(said, count),
        "unread": sum(answer is None for _, answer in rows),
    }


def hit_scores(rows: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    """`questions`, the share of answers that are right (`accuracy`), and how many are `unread`.

    Args:
        rows: Of each answer: whether it is right, whether nothing was understood.
    """
    return {
        "questions": len(rows),
        "accuracy": _share(sum(right for right, _ in rows), len(rows)),
        "unread": sum(unread for _, unread in rows),
    }


def pair_score(rows: Iterable[tuple[str, bool]]) -> dict[str, Any]:
    """The share of pairs of which all is right, as Winoground's text score (arXiv 2204.03162).

    Args:
        rows: The pair of each question, and whether it was answered rightly.
    """
    pairs: dict[str, bool] = {}
    for pair, right in rows:
        pairs[pair] = pairs.get(pair, True) and right
    return {"pairs": len(pairs), "text_score": _share(sum(pairs.values()), len(pairs))}


def box_scores(ious: Sequence[float | None]) -> dict[str, Any]:
    """`questions`, mean `iou`, `acc50`, and how many answers had no box (`unread`): their IoU is 0.

    Args:
        ious: Of each answer's box; None: it had none.
    """
    values = [value or 0.0 for value in ious]
    return {
        "questions": len(values),
        "iou": float(np.mean(values)) if values else 0.0,
        "acc50": _share(sum(value >= AGREES for value in values), len(values)),
        "unread": sum(value is None for value in ious),
    }


def caption_scores(rows: Sequence[tuple[Collection[str], Collection[str]]]) -> dict[str, Any]:
    """How much of the truth captions name, and how much they make up.

    CHAIR (Rohrbach et al., arXiv 1809.02156, section 2.1): `chair_i` is the share of named objects
    that are not there, `chair_s` the share of captions with such an object; like `recall`, the
    share of what is there that is named, they look at nouns, the last words of phrases. `exact`:
    captions that name all phrases and nothing else.

    Args:
        rows: Of each caption: the phrases of what is there, the phrases that it names.
    """
    nouns = [(_nouns(truth), _nouns(answer)) for truth, answer in rows]
    invented = [len(answer - truth) for truth, answer in nouns]
    return {
        "questions": len(rows),
        "recall": _share(
            sum(len(truth & answer) for truth, answer in nouns),
            sum(len(truth) for truth, _ in nouns),
        ),
        "chair_i": _share(sum(invented), sum(len(answer) for _, answer in nouns)),
        "chair_s": _share(sum(map(bool, invented)), len(rows)),
        "exact": _share(sum(set(truth) == set(answer) for truth, answer in rows), len(rows)),
    }


def _nouns(phrases: Collection[str]) -> set[str]:
    return {phrase.rsplit(" ", 1)[-1] for phrase in phrases}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
