"""POPE: is an object on the picture that is not there? (Li et al., arXiv 2305.10355, section 5.)

For each picture as many objects that are there are asked about as are not. Those that are not are
chosen in one of three ways:

    random       any
    popular      the objects that are on the most pictures
    adversarial  those that are most often together with what is on this picture

What is on the pictures comes from annotations, or, as in the paper, from SEEM.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Literal, get_args

import numpy as np

from grounding.llava.evaluation.question import Question
from grounding.llava.evaluation.subject import Subject
from grounding.stickers.vocabulary import article

__all__ = ["NEGATIVES", "Negatives", "pope_questions"]

Negatives = Literal["random", "popular", "adversarial"]
NEGATIVES: tuple[Negatives, ...] = get_args(Negatives)


def pope_questions(
    subjects: Sequence[Subject],
    classes: Sequence[str],
    *,
    each: int = 3,
    seed: int = 0,
    same: Callable[[str, str], bool] = str.__eq__,
) -> list[Question]:
    """Make the questions of all three sets.

    Args:
        subjects: The pictures; one that shows nothing certain is not asked about.
        classes: What can be asked for, each once.
        each: Objects that are there, and as many that are not, at most: a picture with fewer of
            either has fewer questions, half of them answered with yes.
        seed: Of the choices. Those of a picture do not depend on which others there are, but for
            what is popular and what is often together.
        same: Whether two nouns may name one object, so that the absence of one is not certain where
            the other is there.

    Returns:
        Questions of the tasks "random", "popular" and "adversarial". The objects that are there are
        the same in all three.
    """
    popular = Counter(noun for subject in subjects for noun in subject.nouns)
    together: Counter[tuple[str, str]] = Counter()
    for subject in subjects:
        together.update(permutations(subject.nouns, 2))
    questions: dict[str, list[Question]] = {kind: [] for kind in NEGATIVES}
    for subject in subjects:
        generator = np.random.default_rng([seed, zlib.crc32(subject.name.encode())])
        shown = [noun for noun in subject.nouns if noun in set(classes) - subject.unsure]
        there = {*subject.nouns, *subject.unsure}
        absent = [noun for noun in classes if not any(same(noun, other) for other in there)]
        count = min(each, len(shown), len(absent))
        positives = [shown[i] for i in generator.permutation(len(shown))[:count]]
        shuffled = [absent[i] for i in generator.permutation(len(absent))]
        # Sorting is stable: what is equally frequent stays in random order.
        often = {noun: sum(together[noun, other] for other in subject.nouns) for noun in absent}
        chosen = {
            "random": shuffled,
            "popular": sorted(shuffled, key=lambda noun: -popular[noun]),
            "adversarial": sorted(shuffled, key=lambda noun, often=often: -often[noun]),
        }
        for kind, negatives in chosen.items():
            questions[kind] += [_ask(subject, noun, "yes", kind) for noun in positives]
            questions[kind] += [_ask(subject, noun, "no", kind) for noun in negatives[:count]]
    return [question for kind in NEGATIVES for question in questions[kind]]


def _ask(subject: Subject, noun: str, label: str, task: str) -> Question:
    return Question(
        text=f"Is there {article(noun)} in the image?",
        image=subject.name,
        task=task,
        kind="yes-no",
        label=label,
        group=subject.group,
    )
