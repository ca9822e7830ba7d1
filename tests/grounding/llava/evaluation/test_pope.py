from collections import Counter

from PIL import Image

from grounding.llava.evaluation.pope import NEGATIVES, pope_questions
from grounding.llava.evaluation.subject import Subject, Thing

CLASSES = ("cat", "dog", "cup", "table", "bus", "owl", "tree")


def subject(name, *nouns, unsure=()):
    return Subject(
        name=name,
        picture=lambda: Image.new("RGB", (8, 8)),
        things=tuple(Thing(noun=noun) for noun in nouns),
        unsure=frozenset(unsure),
    )


SUBJECTS = [
    *(subject(f"indoors-{n}", "cup", "table") for n in range(4)),
    *(subject(f"pets-{n}", "cat", "dog") for n in range(3)),
    subject("all", "cup", "cat"),
    subject("street", "bus", unsure=["dog"]),
]


def asked(**options):
    found = {}
    for question in pope_questions(SUBJECTS, CLASSES, **options):
        noun = question.text.removesuffix(" in the image?").split(" ", 3)[-1]
        found.setdefault((question.task, question.image), []).append((noun, question.label))
    return found


def test_half_of_the_answers_are_yes_and_all_are_true():
    truth = {each.name: set(each.nouns) for each in SUBJECTS}
    for (_, image), pairs in asked(each=2).items():
        labels = Counter(label for _, label in pairs)
        assert labels["yes"] == labels["no"] == min(2, len(truth[image]))
        assert all((noun in truth[image]) == (label == "yes") for noun, label in pairs)


def test_the_sets_share_what_is_there_and_differ_in_what_is_not():
    found = asked(each=1)
    yes = {kind: [p for (k, _), p in found.items() if k == kind] for kind in NEGATIVES}
    first = [[pair for pair in pairs if pair[1] == "yes"] for pairs in yes["random"]]
    for kind in NEGATIVES:
        assert [[pair for pair in pairs if pair[1] == "yes"] for pairs in yes[kind]] == first
    assert ("cup", "no") in found["popular", "pets-0"]  # on the most pictures
    assert ("cup", "no") in found["adversarial", "pets-1"]  # with the cat once
    assert ("table", "no") in found["adversarial", "all"]  # more often with the cup than the dog


def test_what_is_unsure_is_not_asked_about():
    assert all(noun != "dog" for noun, _ in asked(each=3)["random", "street"])


def test_seeds_decide_and_other_pictures_do_not():
    assert asked(seed=1) == asked(seed=1)
    assert asked(seed=1) != asked(seed=2)
    alone = pope_questions(SUBJECTS[:1], CLASSES, each=2)
    among = [q for q in pope_questions(SUBJECTS, CLASSES, each=2) if q.image == "indoors-0"]
    assert [q.text for q in alone if q.task == "random"] == [
        q.text for q in among if q.task == "random"
    ]


def test_what_may_be_the_same_is_not_denied():
    only = [subject("a", "lava llama"), subject("b", "dog", "llama")]
    questions = pope_questions(
        only, ("lava llama", "llama", "dog"), same=lambda one, two: one[-5:] == two[-5:]
    )
    denied = {(q.image, q.text) for q in questions if q.label == "no"}
    assert denied == {("a", "Is there a dog in the image?")}
