import pytest

from grounding.geometry import box_iou
from grounding.llava.evaluation.pairs import pair_questions
from grounding.llava.evaluation.sticker_questions import (
    STICKER_TASKS,
    plan_questions,
    sticker_questions,
    twin_pairs,
)
from grounding.llava.evaluation.subject import Subject, Thing, scene_subject
from grounding.llava.evaluation.subject_questions import counting_questions, referring_questions
from grounding.stickers.world import PRESETS

WORLD = PRESETS["small"]
SCENES = [WORLD.scene(seed, "held-out") for seed in range(20)]
SUBJECTS = [scene_subject(scene, "held-out") for scene in SCENES]


def asked(task, seed=0):
    pairs = zip(SCENES, SUBJECTS, strict=True)
    return [q for pair in pairs for q in sticker_questions(task, *pair, WORLD, seed=seed)]


@pytest.mark.parametrize("task", STICKER_TASKS)
def test_one_question_of_each_kind_a_scene(task):
    questions = asked(task)
    images = [question.image for question in questions]
    assert len(set(images)) == len(images) > 5
    assert questions == asked(task)
    assert questions != asked(task, seed=1)
    for question in questions:
        if question.kind == "choice":
            assert question.label in question.choices
        if question.kind == "caption":
            assert set(question.label) <= set(question.choices)
        if question.kind == "box":
            [subject] = [s for s in SUBJECTS if s.name == question.image]
            assert max(box_iou(question.label, thing.box) for thing in subject.things) == 1


def test_twins_are_asked_about_with_the_same_captions():
    twins, others = twin_pairs(SCENES, SUBJECTS, seed=0)
    questions = pair_questions(twins, seed=0)
    assert len(questions) == 2 * len(others) > 4
    pairs = {}
    for question in questions:
        pairs.setdefault(question.pair, []).append(question)
    for one, two in pairs.values():
        assert one.text == two.text
        assert one.choices == two.choices
        assert {one.label, two.label} == {"A", "B"}
    assert {other.name for other in others} == set(pairs)


def test_requests_differ_and_name_pairs_of_their_group():
    questions = plan_questions(WORLD, {"held-out": 6, "held-out pairs": 6}, seed=0)
    assert len({question.text for question in questions}) == 12
    assert [question.group for question in questions] == ["held-out"] * 6 + ["held-out pairs"] * 6
    assert all(str(question.label) in question.text for question in questions)


def test_any_picture_can_be_counted_and_pointed_at():
    box = (0.0, 0.0, 0.5, 0.5)
    subject = Subject(
        name="a",
        picture=SUBJECTS[0].picture,
        things=(Thing(noun="cup", box=box), Thing(noun="cup", box=box), Thing(noun="dog", box=box)),
        unsure=frozenset({"owl"}),
    )
    assert {(q.text, q.label) for q in counting_questions(subject)} == {
        ("How many instances of cup are in the image?", "2"),
        ("How many instances of dog are in the image?", "1"),
    }
    [question] = referring_questions(subject)
    assert "dog" in question.text
    assert question.label == box
