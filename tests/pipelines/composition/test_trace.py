"""Traces on disk: whole, readable back, refused where they make no sense."""

import pytest

from grounding.errors import PromptError
from pipelines.composition.composer import fingerprint
from pipelines.composition.trace import NAME, Trace, trace_of, write_step
from tests.pipelines.composition.test_composer import CAPTION, Eye, composed

MADE_WITH = {"generator": None, "steps": 3}


def test_a_trace_is_read_back(tmp_path) -> None:
    steps, _ = composed(Eye({0: ("r2",)}))
    for count in (1, 2):
        trace = trace_of(CAPTION, steps[:count], MADE_WITH)
        write_step(tmp_path, trace, steps[:count])
        assert Trace.load(tmp_path / NAME) == trace
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "00-draw.found.png",
        "00-draw.png",
        "01-redraw.found.png",
        "01-redraw.png",
        "picture.json",
        "picture.png",
        "trace.json",
    ]
    assert [step.order() for step in trace.steps] == [step.order for step in steps]
    assert [step.sha256 for step in trace.steps] == [fingerprint(step.image) for step in steps]
    assert trace.best == 1
    assert trace.made_with == MADE_WITH


def test_a_base_comes_before_what_is_drawn_upon_it(tmp_path) -> None:
    steps, _ = composed(Eye({0: ("r2",)}))
    text = trace_of(CAPTION, steps, MADE_WITH).text()
    (tmp_path / NAME).write_text(text.replace('"base": 0', '"base": 1'))
    with pytest.raises(PromptError, match=r"steps\[1\]\.base: must be an earlier step"):
        Trace.load(tmp_path / NAME)
