"""`lavallama evaluate` hands over to its tasks."""

import pytest

from pipelines.evaluate import main


def test_without_a_task_the_tasks_are_listed(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "grounding" in out
    assert "segmentation" in out


def test_an_unknown_task_is_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["colours"])
    err = capsys.readouterr().err
    tasks = "grounding, segmentation, chat, zero-shot"
    assert err == f"lavallama evaluate: error: no task 'colours': choose from {tasks}\n"
