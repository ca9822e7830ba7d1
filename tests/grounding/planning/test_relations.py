"""What predicates mean for boxes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.planning.relations import PREDICATES, cover, holds

edge = st.floats(0.0, 0.9)
side = st.floats(0.02, 0.1)
box = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), edge, edge, side, side)

LOW_LEFT, TOP_RIGHT = (0.1, 0.6, 0.3, 0.9), (0.6, 0.1, 0.9, 0.3)


@pytest.mark.parametrize(("one", "converse"), [("left of", "right of"), ("above", "below")])
@given(a=box, b=box)
def test_a_direction_and_its_converse(one, converse, a, b) -> None:
    assert holds(one, a, [b]) == holds(converse, b, [a])
    assert not (holds(one, a, [b]) and holds(converse, a, [b]))


@given(a=box, b=box, slack=st.floats(0.0, 0.2))
def test_slack_only_asks_for_more(a, b, slack) -> None:
    for predicate, count in PREDICATES.items():
        others = [b, (0.4, 0.4, 0.6, 0.6)][:count]
        if holds(predicate, a, others, slack=slack):
            assert holds(predicate, a, others)


@given(a=box, b=box)
def test_the_front_is_the_back_of_the_other(a, b) -> None:
    assert holds("in front of", a, [b]) == holds("behind", b, [a])


def test_by_hand() -> None:
    assert holds("left of", LOW_LEFT, [TOP_RIGHT])
    assert holds("below", LOW_LEFT, [TOP_RIGHT])
    assert not holds("beside", LOW_LEFT, [TOP_RIGHT])
    assert holds("at left", LOW_LEFT)
    assert holds("at bottom", LOW_LEFT)
    assert not holds("at centre", LOW_LEFT)
    assert holds("at centre", (0.4, 0.4, 0.6, 0.6))
    assert holds("between", (0.4, 0.4, 0.5, 0.5), [LOW_LEFT, TOP_RIGHT])
    assert not holds("between", (0.92, 0.0, 1.0, 0.1), [LOW_LEFT, TOP_RIGHT])
    table = (0.2, 0.5, 0.8, 0.9)
    assert holds("on", (0.4, 0.2, 0.6, 0.52), [table])
    assert not holds("on", (0.4, 0.05, 0.6, 0.3), [table])  # floats
    assert not holds("on", (0.85, 0.2, 0.95, 0.52), [table])  # beside it
    assert holds("inside", (0.3, 0.6, 0.5, 0.8), [table])
    assert holds("beside", (0.0, 0.5, 0.19, 0.9), [table])
    assert holds("in front of", (0.3, 0.6, 0.5, 0.95), [table])


@given(a=box, b=box)
def test_cover_is_a_share(a, b) -> None:
    assert 0 <= cover(a, b) <= 1 + 1e-9
    assert cover(a, b) == cover(b, a)
    assert cover(a, a) == pytest.approx(1)
