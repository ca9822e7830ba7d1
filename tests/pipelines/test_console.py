import contextlib
import json
import logging
import os
import signal
import struct
import subprocess
import sys
import time
import warnings

import pytest

from grounding.errors import PromptError
from pipelines.console import guarded, one_line

try:
    import fcntl
    import pty
    import termios
except ImportError:  # Windows
    pty = None


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


DOWNLOAD = """
import sys
from pipelines.console import guarded, quiet_libraries
def body():
    quiet_libraries()
    from weights.hub import fetch_adapter
    fetch_adapter("someone/one")
    return 0
sys.exit(guarded("lavallama test", body))
"""


def start_at_a_terminal(loopback_hub, tmp_path, size, rate):
    """A process with a terminal of its own that downloads one file; returns it and its screen."""
    loopback_hub.put("someone/one", {"a.safetensors": bytes(size)})
    loopback_hub.modes["someone/one"] = {"rate": rate}
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
    hub = {"HF_ENDPOINT": loopback_hub.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    environment = {**os.environ, **hub}
    environment.pop("HF_HUB_DISABLE_PROGRESS_BARS", None)
    process = subprocess.Popen(
        [sys.executable, "-c", DOWNLOAD], stdout=terminal, stderr=terminal, env=environment
    )
    os.close(terminal)
    return process, screen


def read_screen(screen):
    """All that a process writes, until it ends."""
    seen = b""
    with contextlib.suppress(OSError):  # how Linux says that nobody has the terminal any more
        while part := os.read(screen, 65536):
            seen += part
    os.close(screen)
    return seen


@pytest.mark.skipif(pty is None, reason="has no pseudo-terminals")
def test_a_download_shows_its_progress_at_a_terminal(loopback_hub, tmp_path):
    process, screen = start_at_a_terminal(loopback_hub, tmp_path, 48 << 20, 32 << 20)
    seen = read_screen(screen)
    assert process.wait() == 0, seen
    assert seen.count(b"a.safetensors:") >= 4


@pytest.mark.skipif(pty is None, reason="has no pseudo-terminals")
def test_ctrl_c_at_a_terminal_is_one_line_at_once(loopback_hub, tmp_path):
    process, screen = start_at_a_terminal(loopback_hub, tmp_path, 48 << 20, 4 << 20)
    while "a.safetensors" not in loopback_hub.downloaded:
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    seen = read_screen(screen)
    assert process.wait() == 2
    blobs = tmp_path / "hub/models--someone--one/blobs"
    assert not [blob for blob in blobs.iterdir() if blob.suffix != ".incomplete"]
    assert b"lavallama test: error: interrupted" in seen
    assert b"Traceback" not in seen


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_stream_can_hold_what_is_said(encoding):
    code = r"""
import json, sys
from tqdm import tqdm
from pipelines.console import guarded
from grounding.errors import PromptError
words = "llama \u00e9 \u72d0 \U0001f98a \udcff"
def body():
    print(json.dumps({"phrase": words[:-1]}, ensure_ascii=False))
    tqdm.write(words)
    raise PromptError(words)
sys.exit(guarded("lavallama test", body))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"lavallama test: error: llama ")
    assert done.stderr.count(b"\n") == 1
    told = done.stdout.decode(encoding).splitlines()[0]
    assert json.loads(told) == {"phrase": "llama \u00e9 \u72d0 \U0001f98a "}


def test_what_is_typed_in_another_encoding_is_no_traceback():
    code = """
import sys
from pipelines.console import guarded
sys.exit(guarded("lavallama test", lambda: print(repr(sys.stdin.readline())) or 0))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        input="\u72d0\n".encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
