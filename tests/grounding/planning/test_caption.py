"""The reader of captions: by hand, against captions whose meaning is known, and on any text."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from grounding.errors import PromptError
from grounding.planning.agreement import agree
from grounding.planning.caption import MAX_CAPTION, read_caption, read_phrase
from grounding.planning.lexicon import MARKS, singular
from grounding.planning.relations import PREDICATES
from grounding.planning.scene_graph import SceneGraph
from grounding.prompt import GroundedPrompt, Region
from grounding.stickers.plans import draw_request
from grounding.stickers.vocabulary import CONCEPTS, article
from grounding.stickers.world import PRESETS


def numbers(graph: SceneGraph) -> list[str]:
    return [thing.number for thing in graph.things]


def bonds(graph: SceneGraph) -> list[str]:
    return [graph.say(bond) for bond in graph.bonds]


@pytest.mark.parametrize(
    ("caption", "things", "relations"),
    [
        ("three llamas left of a volcano", ["3 x llama", "1 x volcano"], ["llama left of volcano"]),
        ("a photo of a cat to the right of 2 dogs", ["1 x cat", "2 x dog"], ["cat right of dog"]),
        ("llama", ["1 x llama"], []),
        ("llamas and some dogs", ["at least 2 x llama", "at least 2 x dog"], []),
        ("at least three foxes", ["at least 3 x fox"], []),
        ("30 dogs and a 1950 car", ["30 x dog", "1 x 1950 car"], []),
        ("a dozen roses, a pair of knives", ["12 x rose", "2 x knife"], []),
        ("a black and white cat", ["1 x black and white cat"], []),
        ("a big, red apple", ["1 x big red apple"], []),
        ("an orange and bananas", ["1 x orange", "at least 2 x banana"], []),
        ("a llama made of lava", ["1 x lava llama"], []),
        ("the llama is made of ice", ["1 x ice llama"], []),
        ("a statue of gold", ["1 x gold statue"], []),
        ("a bowl of fruit", ["1 x bowl of fruit"], []),
        ("a hot air balloon", ["1 x hot air balloon"], []),
        ("a car is red", ["1 x red car"], []),
        ("a dog sits on top of a chair", ["1 x dog", "1 x chair"], ["dog on chair"]),
        ("a cat between two trees", ["1 x cat", "2 x tree"], ["cat between tree and tree"]),
        (
            "a cat between a dog and a bus",
            ["1 x cat", "1 x dog", "1 x bus"],
            ["cat between dog and bus"],
        ),
        (
            "a llama left of a dog and right of a tree",
            ["1 x llama", "1 x dog", "1 x tree"],
            ["llama left of dog", "llama right of tree"],
        ),
        (
            "a dog and a cat. The dog is in front of the cat.",
            ["1 x dog", "1 x cat"],
            ["dog in front of cat"],
        ),
        (
            "on the left, a cat; a dog in the top right corner",
            ["1 x cat", "1 x dog"],
            ["cat at left", "dog at top", "dog at right"],
        ),
        ("a cat in a box", ["1 x cat", "1 x box"], ["cat inside box"]),
    ],
)
def test_what_is_asked_for(caption, things, relations) -> None:
    graph = read_caption(caption)
    assert numbers(graph) == things
    assert bonds(graph) == relations
    assert graph.unread == ()


@pytest.mark.parametrize(
    ("caption", "absent", "left"),
    [
        ("a llama without glasses", ["glasses"], ["1 x llama"]),
        ("a llama and 0 dogs", ["dog"], ["1 x llama"]),
        ("no cats, dogs or birds", ["cat", "dog", "bird"], []),
        ("a llama without glasses and a dog", ["glasses"], ["1 x llama", "1 x dog"]),
        ("a llama without a hat and a scarf", ["hat", "scarf"], ["1 x llama"]),
        ("a llama, but no red cars, and two dogs", ["red car"], ["1 x llama", "2 x dog"]),
    ],
)
def test_what_must_not_be_there(caption, absent, left) -> None:
    graph = read_caption(caption)
    assert list(graph.absent) == absent
    assert numbers(graph) == left


def test_grounds_are_no_things() -> None:
    graph = read_caption("a llama on a beach and a dog under the sky at night")
    assert numbers(graph) == ["1 x llama", "1 x dog"]
    assert graph.background == "on a beach under the sky at night"
    assert graph.bonds == ()


@pytest.mark.parametrize(
    ("caption", "unread", "things"),
    [
        ("a dog chasing a cat", ["chasing"], ["1 x dog", "1 x cat"]),
        ("a dog eats a banana", ["eats"], ["1 x dog", "1 x banana"]),
        ("a cat in a hat", ["in"], ["1 x cat", "1 x hat"]),
        ("a crown on its head", ["its head", "on"], ["1 x crown"]),
        ("a cat and a dog left of it", ["it", "left of"], ["1 x cat", "1 x dog"]),
        ("a llama, one of lava", ["one", "of lava"], ["1 x llama"]),
        ("три ламы слева", ["три ламы слева"], ["1 x три ламы слева"]),
        ("§ near a house", ["§", "near"], ["1 x house"]),
        ("two dogs. A red dog and the dog left of a cat", ["the dog", "left of"], None),
    ],
)
def test_what_is_not_understood_is_said(caption, unread, things) -> None:
    graph = read_caption(caption)
    assert sorted(graph.unread) == sorted(unread)
    if things is not None:
        assert numbers(graph) == things
        assert graph.bonds == ()


@pytest.mark.parametrize("split", ["train", "held-out", "held-out pairs"])
def test_captions_of_scenes_say_what_the_scenes_show(split) -> None:
    for seed in range(25):
        scene = PRESETS["crowd"].scene(seed, split)
        graph = read_caption(scene.caption, CONCEPTS)
        assert graph.unread == ()
        said = [thing.phrase for thing in graph.things for _ in range(thing.count)]
        assert sorted(said) == sorted(sticker.phrase for sticker in scene.stickers)
        regions = tuple(Region(phrase=s.phrase, box=s.box) for s in scene.stickers)
        assert agree(GroundedPrompt(regions=regions), graph, names=CONCEPTS).findings == ()


@pytest.mark.parametrize("split", ["train", "held-out", "held-out pairs"])
def test_requests_for_layouts_are_read_as_they_were_meant(split) -> None:
    generator = np.random.default_rng(7)
    for _ in range(50):
        request = draw_request(PRESETS["small"], generator, split)
        graph = read_caption(request.words, CONCEPTS)
        assert graph.unread == ()
        assert [(t.phrase, t.count) for t in graph.things] == [
            (group.phrase, group.count) for group in request.groups
        ]
        assert [bond.predicate for bond in graph.bonds] == (
            [request.relation] if request.relation else []
        )
        assert list(graph.absent) == ([request.without] if request.without else [])
        assert bool(graph.background) == (request.background is not None)


@given(
    noun=st.sampled_from(sorted(CONCEPTS)),
    colour=st.sampled_from(["", "red ", "lava ", "big blue "]),
    count=st.integers(1, 20),
)
def test_phrases_are_read_back(noun, colour, count) -> None:
    thing = read_phrase(f"{colour}{noun}", CONCEPTS)
    assert thing is not None
    assert (thing.phrase, thing.count) == (f"{colour}{noun}", 1)
    assert read_phrase(article(thing.phrase), CONCEPTS) == thing
    many = read_phrase(f"{count} {thing.phrase}", CONCEPTS)
    assert many is not None
    assert (many.noun, many.attributes, many.count) == (noun, thing.attributes, count)


WORDS = [" ".join(words) for words in sorted(MARKS)] + ["llama", "lava", "dogs", "red", "-", "ß"]


@settings(max_examples=100)
@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=60))
def test_any_text_is_read_without_a_fuss(text) -> None:
    try:
        graph = read_caption(text)
    except PromptError as error:
        assume("at most" not in str(error))  # too many things
        raise
    for bond in graph.bonds:
        assert len(bond.others) == PREDICATES[bond.predicate]
        assert {bond.subject, *bond.others} <= set(range(len(graph.things)))
    assert all(thing.noun and thing.count >= 1 for thing in graph.things)
    assert read_caption(text) == graph


def test_too_much_is_refused() -> None:
    with pytest.raises(PromptError, match="4001 characters"):
        read_caption("a" * (MAX_CAPTION + 1))
    with pytest.raises(PromptError, match="asks for 101 things"):
        read_caption("100 dogs and a cat")


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("buses", "bus"),
        ("houses", "house"),
        ("roses", "rose"),
        ("cherries", "cherry"),
        ("foxes", "fox"),
        ("boxes", "box"),
        ("people", "person"),
        ("wolves", "wolf"),
        ("volcanoes", "volcano"),
        ("shoes", "shoe"),
        ("glasses", None),
        ("bus", None),
        ("cactus", None),
        ("grass", None),
        ("llama", None),
    ],
)
def test_plurals(plural, one) -> None:
    assert singular(plural) == one
