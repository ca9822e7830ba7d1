"""Where no bar is seen, a line now and then says how far a run is."""

import pytest

from pipelines.training import progress as module
from pipelines.training.progress import Progress, duration, progress


def test_a_line_now_and_then_with_the_time_left(monkeypatch, capsys):
    clock = iter([0.0, 10.0, 40.0, 50.0, 60.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    writer = Progress(1000)
    for step in (100, 200, 300, 400):
        writer.numbers(step, {"loss": 0.5})
    writer.numbers(1000, {"loss": 0.25})
    assert capsys.readouterr().err.splitlines() == [
        "step 100 of 1000: loss 0.5000",
        "step 300 of 1000: loss 0.5000, 2 min left",
        "step 1000 of 1000: loss 0.2500, 0 s left",
    ]


def test_a_terminal_has_its_bar(monkeypatch):
    assert len(progress(10)) == 1
    assert progress(10, is_main=False) == []
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert progress(10) == []


@pytest.mark.parametrize(
    ("seconds", "words"), [(3, "3 s"), (59.6, "1 min"), (150, "2 min"), (7499, "2 h 5 min")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words
