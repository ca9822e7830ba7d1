"""Questions about sticker scenes: their answers are true, and held-out pairs are never named."""

import re

import numpy as np
import pytest

from grounding.llava.box_text import LlavaText
from grounding.stickers import PRESETS
from grounding.stickers.plans import PLAN, draw_request, lay_out, plan
from grounding.stickers.questions import KINDS, PLAIN, Question, ask, ask_several, box_text, plural
from grounding.stickers.scene import Scene
from grounding.stickers.vocabulary import CONCEPTS, article
from grounding.stickers.world import HELD_OUT_PAIRS, Split

CROWD = PRESETS["crowd"]
SEEDS = range(60)


def asked(kind, seeds=SEEDS, split: Split = "train") -> list[tuple[Scene, Question]]:
    found = []
    for seed in seeds:
        scene = CROWD.scene(seed, split)
        question = ask(kind, scene, CROWD, np.random.default_rng(seed), split)
        if question is not None:
            found.append((scene, question))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_asked_and_the_same_seed_asks_the_same(kind):
    found = asked(kind, range(40))
    assert len(found) > 10
    assert [q for _, q in found] == [q for _, q in asked(kind, range(40))]
    assert all(q.kind == kind and q.text and q.answer for _, q in found)


def test_what_is_there_is_there():
    answers = []
    for scene, question in asked("exists"):
        phrase = re.fullmatch(r"Is there an? (.+) in the image\?", question.text)
        assert phrase is not None
        there = {name for s in scene.stickers for name in (s.concept, s.phrase)}
        assert question.answer == ("Yes" if phrase[1] in there else "No")
        answers.append(question.answer)
    assert 0.35 < answers.count("Yes") / len(answers) < 0.65


def test_counts_are_the_numbers_of_things():
    names = {plural(concept): concept for concept in CROWD.concepts}
    for scene, question in asked("count"):
        name = question.text.split()[2]
        right = [s for s in scene.stickers if name == "objects" or s.concept == names[name]]
        assert question.answer == str(len(right))


def test_materials_are_those_of_the_only_one():
    for scene, question in asked("material"):
        named = question.text.removeprefix("What is the ").removesuffix(" made of?")
        [sticker] = [s for s in scene.stickers if s.concept == named]
        assert question.answer == (sticker.material or PLAIN)


def true_words(offsets):
    """What may be said of how one centre lies from another."""
    (left, right), (above, below) = (("left", "right"), ("above", "below"))
    across, down = offsets
    words = {left if across < 0 else right} if abs(across) >= 0.15 else set()
    return words | ({above if down < 0 else below} if abs(down) >= 0.15 else set())


def centre(scene, name):
    x0, y0, x1, y1 = next(s.box for s in scene.stickers if name in (s.concept, s.phrase))
    return (x0 + x1) / 2, (y0 + y1) / 2


def agrees(said, answer, true):
    """Whether an answer to a question that says one word, or offers two, is right."""
    return answer in true if " or " in said else (said in true) == (answer == "Yes")


def test_sides_are_those_of_the_centre():
    names = {"top": "above", "bottom": "below"}
    for scene, question in asked("side"):
        words = re.fullmatch(r"Is the (.+?) ((?:on|at) the .+)\?", question.text)
        assert words is not None
        x, y = centre(scene, words[1])
        said, answer = (re.sub("on the |at the ", "", words[2]), question.answer)
        said, answer = (re.sub("top|bottom", lambda m: names[m[0]], t) for t in (said, answer))
        assert agrees(said, answer, true_words((x - 0.5, y - 0.5)))


def test_relations_hold_by_a_margin():
    between = "left of|right of|above|below|left or right of|above or below"
    for scene, question in asked("relation"):
        words = re.fullmatch(rf"Is the (.+?) ({between}) the (.+)\?", question.text)
        assert words is not None
        first, second = (centre(scene, words[i]) for i in (1, 3))
        true = true_words((first[0] - second[0], first[1] - second[1]))
        assert agrees(words[2].removesuffix(" of"), question.answer, true)


def test_boxes_are_those_of_the_stickers_in_llavas_dialect():
    for kind in ("refer", "region"):
        for scene, question in asked(kind):
            assert question.box in [s.box for s in scene.stickers]
            assert question.box is not None
            text = question.answer if kind == "refer" else question.text
            assert box_text(question.box) in text
            [mention] = LlavaText().read(text, (128, 128))
            assert mention.box == pytest.approx(question.box, abs=0.0051)


def test_grounded_answers_name_every_sticker_with_its_box():
    for kind in ("grounded", "list"):
        for scene, question in asked(kind, range(40)):
            mentions = LlavaText().read(question.answer, (128, 128))
            names = [article(s.phrase) if kind == "grounded" else s.phrase for s in scene.stickers]
            assert sorted(m.phrase for m in mentions) == sorted(names)


def test_of_two_captions_one_fits():
    for _, question in asked("fits"):
        assert question.options is not None
        fitting, other = question.options
        shown = re.fullmatch(r"Which caption fits the image\? A: (.+)\. B: (.+)\.", question.text)
        assert shown is not None
        assert shown["AB".index(question.answer) + 1] == fitting
        assert {shown[1], shown[2]} == {fitting, other}


def test_training_never_names_a_held_out_pair():
    texts = [
        f"{question.text} {question.answer}"
        for seed in range(150)
        for question in [
            *ask_several(CROWD.scene(seed), CROWD, np.random.default_rng(seed), 12),
            plan(CROWD, np.random.default_rng(seed)),
        ]
    ]
    named = {f"{material} {concept}" for material, concept in HELD_OUT_PAIRS}
    named |= {f"{material} {plural(concept)}" for material, concept in HELD_OUT_PAIRS}
    pattern = re.compile(rf"\b(?:{'|'.join(sorted(named))})\b")
    assert not [text for text in texts if pattern.search(text)]


def test_several_questions_differ_and_one_seed_gives_one_set():
    scene = CROWD.scene(3)
    several = ask_several(scene, CROWD, np.random.default_rng(3), 10)
    assert len({question.text for question in several}) == len(several) == 10
    assert several == ask_several(scene, CROWD, np.random.default_rng(3), 10)


@pytest.mark.parametrize("split", ["train", "held-out", "held-out pairs"])
def test_layouts_satisfy_their_requests(split: Split):
    for seed in range(60):
        request = draw_request(CROWD, np.random.default_rng(seed), split)
        boxes = lay_out(request, np.random.default_rng(seed))
        counts = [group.count for group in request.groups]
        assert len(boxes) == sum(counts) <= 5
        for x0, y0, x1, y1 in boxes:
            assert 0 <= x0 < x1 <= 1
            assert 0 <= y0 < y1 <= 1
            assert min(x1 - x0, y1 - y0) > 0.15
        if request.relation:
            axis = 0 if request.relation in ("left of", "right of") else 1
            middles = [(box[axis] + box[axis + 2]) / 2 for box in boxes]
            first, second = middles[: counts[0]], middles[counts[0] : sum(counts[:2])]
            if request.relation in ("right of", "below"):
                first, second = second, first
            assert min(second) - max(first) > 0.15


def test_plans_read_as_boxes_and_their_requests_are_held_out():
    requests: dict[str, set[str]] = {}
    for split in ("train", "held-out"):
        for seed in range(80):
            question = plan(CROWD, np.random.default_rng(seed), split)
            requests.setdefault(split, set()).add(question.text)
            for line in question.answer.splitlines():
                [mention] = LlavaText().read(line, (128, 128))
                assert mention.phrase.split()[-1] in CROWD.concepts
    assert question.text.startswith(PLAN.split("{")[0])
    assert not requests["train"] & requests["held-out"]


def test_plurals():
    assert [plural(word) for word in ("llama", "fox", "butterfly", "cherries", "leaf", "key")] == [
        "llamas", "foxes", "butterflies", "cherries", "leaves", "keys",
    ]  # fmt: skip
    assert all(plural(concept) for concept in CONCEPTS)
