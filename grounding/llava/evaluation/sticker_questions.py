"""Questions about held-out scenes of the sticker world, one of each kind a scene.

The words are those of `grounding.stickers.questions`, from which the embedded LLaVA learns.
"""

import zlib
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from grounding.llava.evaluation.pairs import Pair
from grounding.llava.evaluation.question import Question
from grounding.llava.evaluation.subject import Subject, scene_subject
from grounding.llava.evaluation.twins import find_twins
from grounding.stickers.plans import PLAN, draw_request
from grounding.stickers.questions import PLAIN, Kind, ask
from grounding.stickers.questions import Question as Asked
from grounding.stickers.scene import Scene
from grounding.stickers.world import Split, World

__all__ = ["STICKER_TASKS", "plan_questions", "sticker_questions", "twin_pairs"]

STICKER_TASKS: dict[str, Kind] = {
    "counting": "count",
    "attribute": "material",
    "relation": "relation",
    "referring": "refer",
    "caption": "caption",
}
SIDES = ("left", "right"), ("above", "below")
TRIES = 20  # draws of a question, of which some give none


def sticker_questions(
    task: str, scene: Scene, subject: Subject, world: World, *, seed: int
) -> list[Question]:
    """Ask one question of a scene; none if it has nothing of the kind.

    Args:
        task: One of `STICKER_TASKS`.
        scene: Of the world, held out.
        subject: The same scene.
        world: Says what else could have been there.
        seed: Of the choice.
    """
    generator = _generator(seed, f"{task} {subject.name}")
    draws = (ask(STICKER_TASKS[task], scene, world, generator, "held-out") for _ in range(TRIES))
    return [
        _reworded(task, asked, subject, world)
        for asked in islice((asked for asked in draws if asked is not None), 1)
    ]


def _reworded(task: str, asked: Asked, subject: Subject, world: World) -> Question:
    common: dict[str, Any] = {
        "text": asked.text,
        "image": subject.name,
        "task": task,
        "group": subject.group,
    }
    if task == "counting":
        return Question(kind="count", label=asked.answer, **common)
    if task == "attribute":
        choices = (*world.materials, PLAIN)
        return Question(kind="choice", label=asked.answer, choices=choices, **common)
    if task == "relation" and asked.answer not in ("Yes", "No"):
        choices = next(pair for pair in SIDES if asked.answer in pair)
        return Question(kind="choice", label=asked.answer, choices=choices, **common)
    if task == "relation":
        return Question(kind="yes-no", label=asked.answer.lower(), **common)
    if task == "referring":
        assert asked.box is not None, "a question for a box has one"
        return Question(kind="box", label=asked.box, **common)
    phrases = tuple(dict.fromkeys(thing.phrase for thing in subject.things))
    return Question(kind="caption", label=phrases, choices=_phrases(world), **common)


def _phrases(world: World) -> tuple[str, ...]:
    """All that a caption can name."""
    made = [f"{material} {concept}" for concept in world.concepts for material in world.materials]
    return (*world.concepts, *made)


def twin_pairs(
    scenes: Sequence[Scene], subjects: Sequence[Subject], *, seed: int
) -> tuple[list[Pair], list[Subject]]:
    """Exchange things of scenes.

    Args:
        scenes: In any order.
        subjects: The same scenes.
        seed: Of the choice of things.

    Returns:
        Pairs of a scene and its twin, and the twins. Pairs on which something is made of what it
        never is in training are in the group "held-out pairs".
    """
    pairs, others = [], []
    for scene, subject in zip(scenes, subjects, strict=True):
        for twins in find_twins(scene, _generator(seed, f"fits {subject.name}")):
            name = f"{subject.name.removesuffix('.png')}-{twins.kind}.png"
            others.append(scene_subject(twins.scenes[1], subject.group, name))
            pairs.append(
                Pair(
                    name=name,
                    images=(subject.name, name),
                    captions=twins.captions,
                    group="held-out pairs" if twins.holds_out else "held-out",
                )
            )
    return pairs, others


def plan_questions(world: World, counts: dict[Split, int], *, seed: int) -> list[Question]:
    """Ask for layouts, without a picture.

    Args:
        world: Of the words.
        counts: How many requests of each split.
        seed: Of the choice.
    """
    questions: dict[str, Question] = {}
    for split, count in counts.items():
        generator = _generator(seed, f"plan {split}")
        wanted = len(questions) + count
        while len(questions) < wanted:
            words = draw_request(world, generator, split).words
            text = PLAN.format(words)
            question = Question(
                text=text,
                image="",
                task="plan",
                kind="plan",
                label=words,
                choices=world.concepts,
                group=split,
            )
            questions.setdefault(text, question)
    return list(questions.values())


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
