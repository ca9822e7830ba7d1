import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gligen.schedule import evaluation_scales, gate_scales
from grounding.errors import LavallamaError


@pytest.mark.parametrize(
    ("steps", "schedule", "expected"),
    [
        (10, (0.3, 0.0, 0.7), [1] * 3 + [0] * 7),
        (10, (0.25, 0.25, 0.5), [1, 1, 0.5] + [0] * 7),
        (10, (1, 0, 0), [1] * 10),
        (10, (0, 0, 1), [0] * 10),
        (5, (0.0, 1.0, 0.0), [0.8, 0.6, 0.4, 0.2, 0.0]),
        (10, (0.7, 0.2, 0.1), [1] * 7 + [0.5, 0, 0]),  # the official code refuses this sum
        (1, (0.3, 0.0, 0.7), [0]),
        (50, (0.3, 0.0, 0.7), [1] * 15 + [0] * 35),
    ],
)
def test_stages_are_those_of_the_official_schedule(steps, schedule, expected):
    assert gate_scales(steps, schedule) == pytest.approx(expected)


@given(steps=st.integers(1, 300), on=st.floats(0, 1), rest=st.floats(0, 1))
def test_a_scale_for_each_step_that_never_rises(steps, on, rest):
    linear = (1 - on) * rest
    scales = gate_scales(steps, (on, linear, 1 - on - linear))
    assert len(scales) == steps
    assert scales == sorted(scales, reverse=True)
    assert all(0 <= scale <= 1 for scale in scales)


@pytest.mark.parametrize(
    "schedule",
    [(0.3, 0.3, 0.3), (0.5, 0.5), (1.5, -0.5, 0), (math.nan, 0, 1), (math.inf, 0, 0), (1, 0, 0, 0)],
)
def test_impossible_fractions_are_refused_in_one_line(schedule):
    with pytest.raises(LavallamaError, match="three fractions on, linear, off") as caught:
        gate_scales(10, schedule)
    assert "\n" not in str(caught.value)


def test_no_steps_are_refused():
    with pytest.raises(LavallamaError, match="at least 1 step; got 0"):
        gate_scales(0, (1, 0, 0))


def test_the_second_evaluation_of_plms_belongs_to_its_first_step():
    assert evaluation_scales(5, 4, (0.25, 0.25, 0.5)) == [1, 1, 0, 0, 0]
    assert evaluation_scales(4, 4, (0.5, 0, 0.5)) == [1, 1, 0, 0]
    assert evaluation_scales(8, 4, (0.5, 0, 0.5)) == [1] * 4 + [0] * 4
