import logging
import warnings

import pytest

from grounding.errors import PromptError
from pipelines.console import guarded, one_line


def fail(error):
    def body():
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PromptError("two\nlines"), "two lines"),
        (FileNotFoundError(2, "No such file or directory", "a.json"), "a.json: no such file"),
        (PermissionError(13, "Permission denied"), "permission denied"),
        (OSError("odd"), "odd"),
        (KeyboardInterrupt(), "interrupted"),
        (MemoryError(), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (RecursionError("maximum recursion depth"), "the input is nested too deeply"),
    ],
)
def test_failures_are_one_line(error, message, capsys, monkeypatch):
    monkeypatch.delenv("LAVALLAMA_DEBUG", raising=False)
    assert guarded("lavallama test", fail(error)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"lavallama test: error: {message}")
    assert said.count("\n") == 1


def test_our_own_mistakes_keep_their_traceback():
    with pytest.raises(TypeError):
        guarded("lavallama test", fail(TypeError("a bug")))
    with pytest.raises(RuntimeError):
        guarded("lavallama test", fail(RuntimeError("a bug")))


def test_debugging_lets_the_traceback_through(monkeypatch):
    monkeypatch.setenv("LAVALLAMA_DEBUG", "1")
    with pytest.raises(PromptError):
        guarded("lavallama test", fail(PromptError("x")))


def test_success_is_the_bodys_own_code(capsys):
    assert guarded("lavallama test", lambda: 0) == 0
    assert capsys.readouterr().err == ""


def test_warnings_of_ours_are_lines_and_those_of_others_are_kept_away(capsys):
    def body():
        for _ in range(2):
            logging.getLogger("grounding.prompt").warning("left out %d", 3)
        warnings.warn("of a library", FutureWarning, stacklevel=1)
        return 0

    assert guarded("lavallama test", body) == 0
    assert capsys.readouterr().err == "lavallama test: warning: left out 3\n"
    assert not logging.getLogger("grounding").handlers


def test_one_line():
    assert one_line("a\n b\x1b[31m") == "a b?[31m"
    assert len(one_line("word " * 1000)) <= 600
