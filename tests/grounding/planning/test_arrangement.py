"""Layouts by rules: right, repeatable, various."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.errors import PromptError
from grounding.planning.agreement import agree
from grounding.planning.arrangement import MAX_COVER, arrange, crowded
from grounding.planning.caption import read_caption
from grounding.planning.repair import laid_out
from grounding.planning.scene_graph import SceneGraph, Slot

NOUNS = ("dog", "cat", "bus", "tree")
SAID = ("left of", "right of", "above", "below", "beside", "on", "in front of", "behind")


@st.composite
def captions(draw: st.DrawFn) -> str:
    nouns = draw(st.permutations(NOUNS))[: draw(st.integers(1, 3))]
    words = [f"{draw(st.integers(1, 2))} {noun}" for noun in nouns]
    text = words[0]
    for word in words[1:]:
        text += f" {draw(st.sampled_from((*SAID, 'and')))} {word}"
    return text + draw(st.sampled_from(("", " at the top left", ", no bears")))


@settings(max_examples=20, deadline=None)
@given(captions(), st.integers(0, 1000))
def test_a_layout_is_what_was_asked_for(caption, seed) -> None:
    graph = read_caption(caption)
    assert graph.unread == ()
    try:
        document = laid_out(caption, graph, seed=seed)
    except PromptError:
        assert "top" in caption or " on " in caption  # perhaps there is no such layout
        return
    assert agree(document, graph).findings == ()
    boxes = arrange(graph, seed=seed)
    assert crowded(graph, boxes, MAX_COVER + 0.02) == []  # boxes have three decimals
    assert laid_out(caption, graph, seed=seed) == document


def test_seeds_give_various_layouts() -> None:
    graph = read_caption("a llama and a volcano")
    layouts = {tuple(arrange(graph, seed=seed).values()) for seed in range(5)}
    assert len(layouts) == 5


def test_what_is_fixed_stays() -> None:
    graph = read_caption("a llama left of a volcano")
    llama, volcano = graph.slots()
    given_box = (0.55, 0.2, 0.85, 0.5)
    boxes = arrange(graph, fixed={llama: given_box})
    assert boxes[llama] == given_box
    assert boxes[volcano][0] > 0.8


def test_what_is_wished_is_near() -> None:
    graph = read_caption("a llama and a volcano")
    wish = (0.1, 0.1, 0.3, 0.3)
    slot = Slot(thing=0, place=0)
    box = arrange(graph, wished={slot: wish})[slot]
    assert box == pytest.approx(wish, abs=0.15)


def test_shapes_and_sizes_are_kept() -> None:
    graph = read_caption("a tiny dog and a bus")
    dog, bus = arrange(graph, shape=lambda noun: 2.0 if noun == "bus" else 1.0).values()
    assert (bus[2] - bus[0]) / (bus[3] - bus[1]) == pytest.approx(2, rel=0.05)
    assert dog[2] - dog[0] < 0.6 * (bus[2] - bus[0])


def test_long_rows_and_crowds_find_their_place() -> None:
    row = "a cat left of a dog, the dog left of a bird, the bird left of a tree"
    assert len(arrange(read_caption(row))) == 4
    assert len(arrange(read_caption("12 dogs"))) == 12
    assert len(arrange(read_caption("two cats on a table"))) == 3


@pytest.mark.parametrize(
    ("caption", "problem"),
    [
        ("a dog left of a cat and right of the cat", "no layout of 2 boxes was found in which"),
        ("nothing", None),
    ],
)
def test_what_cannot_be(caption, problem) -> None:
    graph = read_caption(caption) if problem else SceneGraph()
    with pytest.raises(PromptError, match=problem or "names nothing"):
        arrange(graph)
