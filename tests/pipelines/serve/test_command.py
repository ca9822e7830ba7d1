"""Starting and stopping the server from a terminal."""

import signal
import socket
import subprocess
import sys

import httpx
import pytest

from pipelines import cli
from pipelines.serve import command

SERVE_TINY = """
import sys
import pipelines.segmentation.segmenter
from tests.seem.predicting import tiny_predictor
pipelines.segmentation.segmenter.open_predictor = lambda model, **options: tiny_predictor()
from pipelines.serve.command import main
sys.exit(main(sys.argv[1:]))
"""


def said(capsys: pytest.CaptureFixture[str]) -> str:
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lavallama serve: error: ")
    return line


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_other_addresses_need_a_token(capsys, monkeypatch, host: str) -> None:
    monkeypatch.delenv(command.TOKEN_VARIABLE, raising=False)
    assert command.main(["--host", host, "--port", "0"]) == 2
    assert "--no-token" in said(capsys)


@pytest.mark.parametrize("arguments", [["--port", "70000"], ["--images", "0"], ["--token", "a b"]])
def test_wrong_arguments(capsys, arguments: list[str]) -> None:
    assert command.main(arguments) == 2
    said(capsys)


@pytest.mark.parametrize("text", ["nan", "inf", "0", "-1", "x"])
def test_wrong_amounts(capsys, text: str) -> None:
    with pytest.raises(SystemExit) as left:
        command.main(["--seconds", text])
    assert left.value.code == 2
    said(capsys)


def test_an_address_that_is_taken(capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert command.main(["--port", str(other.getsockname()[1])]) == 2
    assert "already in use" in said(capsys)


def test_no_such_model(capsys, tmp_path) -> None:
    assert command.main(["--port", "0", "--model", str(tmp_path / "none")]) == 2
    assert "none" in said(capsys)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pipelines.cli import main\n"
        "try: main(['serve', '--help'])\n"
        "except SystemExit: print(sorted({'torch', 'fastapi', 'uvicorn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("[]\n"), done.stderr
    assert "serve" in cli.COMMANDS


def test_it_serves_until_it_is_told_to_stop() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE_TINY, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving at http://127.0.0.1:"), line
        address = line.split()[2].rstrip(",")
        ready = httpx.get(f"{address}/readyz", trust_env=False, timeout=60)
        assert ready.json() == {"status": "ok"}
        evil = {"Host": "evil.example"}
        assert httpx.get(f"{address}/readyz", headers=evil, trust_env=False).status_code == 400
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
