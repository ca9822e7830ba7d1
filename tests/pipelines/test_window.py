"""Windows around boxes."""

from hypothesis import given
from hypothesis import strategies as st

from pipelines.window import window

sides = st.integers(1, 400)
fractions = st.tuples(*[st.integers(0, 100)] * 2).filter(lambda pair: pair[0] != pair[1])


@given(sides, sides, fractions, fractions)
def test_a_window_holds_its_box(width, height, across, down):
    (x0, x1), (y0, y1) = sorted(across), sorted(down)
    box = (x0 / 100, y0 / 100, x1 / 100, y1 / 100)
    view = window(box, (width, height), (64, 48))
    assert view.target[0] <= width
    assert view.target[1] <= height
    assert view.target[0] >= min(64, width)
    assert view.target[1] >= min(48, height)
    inside = view.normalized_box(box)
    assert min(inside) >= -1 / min(view.target)
    assert max(inside) <= 1 + 1 / min(view.target)


def test_a_picture_of_the_models_size_is_seen_whole():
    view = window((0.1, 0.1, 0.3, 0.9), (64, 48), (64, 48))
    assert view.target == (64, 48)
    assert view.offset == (0, 0)


def test_a_closeup_is_twice_its_box_and_of_the_models_shape():
    view = window((0.5, 0.25, 0.75, 0.5), (64, 32), (64, 32), closeup=True)
    assert view.target == (32, 16)
    assert view.offset == (-24, -4)
    corner = window((0.0, 0.9, 0.2, 1.0), (64, 32), (64, 32), closeup=True)
    assert corner.target == (26, 13)
    assert corner.offset == (0, -19)
