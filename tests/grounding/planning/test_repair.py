"""Layouts that differ from the request are mended, and every step is said."""

from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.planning.agreement import agree
from grounding.planning.caption import read_caption
from grounding.planning.repair import laid_out, mend
from grounding.prompt import GroundedPrompt, Region

CAPTION = "two lava llamas left of a volcano, no trees"
GRAPH = read_caption(CAPTION)

edge, side = st.floats(0.0, 0.7), st.floats(0.01, 0.3)
box = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), edge, edge, side, side)
phrase = st.sampled_from(("lava llama", "llama", "a volcano", "tree", "ice llama", "dog", "  "))
regions = st.lists(st.builds(lambda p, b: Region(phrase=p, box=b), phrase, box), max_size=5)


@settings(max_examples=20, deadline=None)
@given(regions)
def test_whatever_came_is_mended(given_regions) -> None:
    document = GroundedPrompt(regions=tuple(given_regions))
    mended = mend(document, GRAPH, caption=CAPTION)
    assert agree(mended.document, GRAPH).findings == ()
    assert [r.phrase for r in mended.document.regions] == ["lava llama", "lava llama", "volcano"]
    assert mended.document.prompt == CAPTION
    assert mended.document.negative_prompt == "tree"
    again = mend(mended.document, GRAPH, caption=CAPTION)
    assert again.repairs == ()
    assert again.document == mended.document
    right = [r.box for r in mended.document.regions] == [r.box for r in given_regions]
    assert bool(mended.repairs) or right


def test_a_right_layout_stays() -> None:
    document = laid_out(CAPTION, GRAPH, seed=3)
    mended = mend(document, GRAPH, caption=CAPTION)
    assert mended.repairs == ()
    assert mended.document == document


def test_every_repair_is_said() -> None:
    document = GroundedPrompt(
        regions=(
            Region(phrase="a lava llama", box=(0.6, 0.2, 0.9, 0.5)),
            Region(phrase="volcano", box=(0.4, 0.2, 0.7, 0.8)),
            Region(phrase="volcano", box=(0.0, 0.0, 0.01, 0.01)),
            Region(phrase="tree", box=(0.1, 0.1, 0.2, 0.2)),
        )
    )
    repairs = mend(document, GRAPH, caption=CAPTION).repairs
    assert [line.split()[:2] for line in repairs[:2]] == [["dropped", "r3"], ["dropped", "r4:"]]
    assert "was to be absent" in repairs[1]
    assert any(line.startswith("added lava llama at [") for line in repairs)
    moved = [line for line in repairs if line.startswith("moved ")]
    assert "not so: r1 a lava llama left of r2 volcano" in moved[0]


def test_depth_follows_who_is_in_front() -> None:
    caption = "a dog in front of a tree and a cat behind a bus"
    document = laid_out(caption, read_caption(caption))
    assert {region.phrase: region.z for region in document.regions} == {
        "dog": 1,
        "tree": 0,
        "cat": 0,
        "bus": 1,
    }
