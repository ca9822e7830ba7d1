"""Answers that say what is not there, or how they came about, are found out."""

import pytest

from grounding.llava.instruct.exchange import Exchange, read_answer, read_exchanges
from grounding.llava.instruct.faithfulness import Objects, flaw
from grounding.llava.instruct.lesson import LESSONS
from grounding.llava.instruct.scene import Scene

SCENE = Scene(
    name="a.png",
    captions=("A woman walks two dogs on a beach.", "a lady and her dogs near the sea"),
    objects=(("hot dog", (0.1, 0.2, 0.30004, 0.4)),),
    nouns=("hot dog",),
)
OBJECTS = Objects(
    ["dog", "hot dog", "llama", "person", "car", "couch", "orange", "glasses", "bus", "umbrella"]
)
NOT_THERE = "names an object that is not there"
TOLD = "speaks of what the teacher was told"


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Who is there?", "A woman with two puppies.", None),
        ("Who is there?", "Two people.", None),
        ("What is eaten?", "Perhaps hot dogs.", None),
        ("Is there a llama?", "No, there is none.", None),
        ("What is missing?", "There is no car and no llama here.", None),
        ("Is it sunny?", "Yes: nobody holds an umbrella.", NOT_THERE),
        ("Which colour has the sky?", "It is orange.", None),
        ("What is there?", "A llama.", NOT_THERE),
        ("What is there?", "Some sofas.", NOT_THERE),
        ("What is there?", "There is no car, but two buses.", NOT_THERE),
        ("What does the llama do?", "It walks.", NOT_THERE),
        ("Who is there?", "The caption speaks of a woman.", TOLD),
        ("Who is there?", "According to the notes, a woman.", TOLD),
        ("Where is she?", "In the bounding box of the dogs.", TOLD),
        ("Where is she?", "At [0.1, 0.2].", TOLD),
        ("Where is she?", "At 0.512 of the width.", TOLD),
        ("Who is she?", "That is not specified.", "is not certain"),
        ("Who is she?", "It is hard to say.", "is not certain"),
        ("Who is she?", "I'm sorry, I can't tell.", "is not certain"),
    ],
)
def test_an_exchange_is_judged(question, answer, reason):
    problem = flaw(Exchange(question=question, answer=answer), SCENE, OBJECTS)
    assert (problem and problem[0]) == reason


def test_a_word_of_the_captions_may_be_said():
    scene = Scene(name="a.png", captions=("A page with a caption under a drawing.",))
    exchange = Exchange(question="What is under it?", answer="A caption.")
    assert flaw(exchange, scene, OBJECTS) is None


def test_the_teacher_is_told_captions_and_where_things_are():
    assert SCENE.context(boxes=False) == "\n".join(SCENE.captions)
    assert SCENE.context(boxes=True).endswith("sea\n\nhot dog: [0.100, 0.200, 0.300, 0.400]")
    bare = Scene(name="a.png", objects=SCENE.objects)
    assert bare.context(boxes=False) == "hot dog: [0.100, 0.200, 0.300, 0.400]"


def test_our_examples_keep_to_the_rules():
    objects = Objects(["person", "dog", "cat", "car", "chair", "cup", "umbrella", "bus"])
    for lesson in LESSONS.values():
        for context, answer in lesson.examples:
            scene = Scene(name="a.png", captions=tuple(context.splitlines()))
            read = read_answer(answer, "What?") if lesson.questions else read_exchanges(answer)
            assert [flaw(exchange, scene, objects) for exchange in read] == [None] * len(read)
            assert lesson.boxes == ("[0." in context)


def test_nothing_is_invented_where_nothing_is_known():
    assert Objects([]).named("a llama") == set()
