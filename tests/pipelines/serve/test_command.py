"""Starting and stopping the server from a terminal."""

import logging
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from pipelines import cli
from pipelines.serve import command
from pipelines.serve.log import Seldom, log_to_stderr
from pipelines.serve.settings import Settings
from tests.pipelines.serve.asking import file_of
from tests.seem.predicting import picture

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


def settings_of(*arguments: str) -> Settings:
    parsed = command._parser().parse_args(arguments)
    local = command._is_loopback(parsed.host)
    return command._settings(parsed, command._token(parsed), local)


@pytest.mark.parametrize("where", ["--token", "--token-file", "variable"])
def test_an_empty_token_is_no_token(capsys, monkeypatch, tmp_path, where: str) -> None:
    (tmp_path / "token").write_text("\n")
    given = {"--token": ["--token", ""], "--token-file": ["--token-file", str(tmp_path / "token")]}
    if where == "variable":
        monkeypatch.setenv(command.TOKEN_VARIABLE, "")
    assert command.main(["--port", "0", *given.get(where, [])]) == 2
    assert "is empty" in said(capsys)


def test_a_token_may_stand_in_a_file(capsys, tmp_path) -> None:
    (tmp_path / "token").write_text("open-sesame\n")
    assert settings_of("--token-file", str(tmp_path / "token")).token == "open-sesame"
    assert command.main(["--port", "0", "--token-file", str(tmp_path / "none")]) == 2
    assert "no such file" in said(capsys)


def test_names_by_which_it_may_be_called(monkeypatch) -> None:
    monkeypatch.delenv(command.TOKEN_VARIABLE, raising=False)
    assert "127.0.0.2" in settings_of("--host", "127.0.0.2").hosts
    assert {"localhost", "proxy"} <= set(settings_of("--allowed-host", "Proxy").hosts)
    assert settings_of("--host", "::", "--token", "x").hosts == ()
    named = settings_of("--host", "192.0.2.1", "--token", "x", "--allowed-host", "me").hosts
    assert named == ("192.0.2.1", "me")


def test_limits_follow_each_other_and_the_memory_there_is(monkeypatch) -> None:
    monkeypatch.setattr("pipelines.serve.memory.free_bytes", lambda: 4 * 2**30)
    settings = settings_of("--waiting", "300", "--allow-origin", "https://A.example/")
    assert settings.connections == 1200
    assert settings.origins == ("https://a.example",)
    assert (settings.work_bytes, settings.image_cache_bytes) == (2 * 2**30, 2**30)
    assert settings_of("--work-mb", "10").work_bytes == 10 * 2**20
    assert settings_of("--grace", "0").grace_s == 0


def test_the_log_has_tracebacks_and_no_floods(capsys) -> None:
    log, mine = logging.getLogger("pipelines.serve"), logging.getLogger("pipelines.serve.x")
    before = (log.handlers, log.propagate, log.level)
    try:
        log_to_stderr(access=False)
        try:
            raise KeyError("what")
        except KeyError:
            mine.exception("%s failed", "a1")
        mine.info("a request")
        seldom = Seldom(mine)
        for _ in range(100):
            seldom("%s knocks", "10.0.0.1")
    finally:
        log.handlers, log.propagate = before[:2]
        log.setLevel(before[2])
    text = capsys.readouterr().err
    assert "ERROR a1 failed\nTraceback" in text
    assert "KeyError: 'what'" in text
    assert "a request" not in text
    assert text.count("knocks") == 1


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


def test_it_ends_when_its_work_does_not() -> None:
    """A request is stuck in native code: there are an answer and an end, in bounded time."""
    stuck = SERVE_TINY.replace(
        "from pipelines.serve.command",
        "import time\nfrom seem.predictor import Predictor\n"
        "Predictor.predict = lambda self, **asked: time.sleep(3600)\nfrom pipelines.serve.command",
    )
    with subprocess.Popen(
        [sys.executable, "-c", stuck, "--port", "0", "--seconds", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[2].rstrip(",")
            ask_what_gets_stuck(address)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGTERM
    assert "it is left behind" in errors


def ask_what_gets_stuck(address: str) -> None:
    with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        headers = {"Content-Type": "image/png"}
        image = client.post("/v1/images", content=file_of(picture()), headers=headers).json()
        asked = client.post(f"/v1/images/{image['image_id']}/segment", json={"text": "llama"})
        assert asked.status_code == 504
        while client.get("/readyz").status_code != 503:
            time.sleep(0.02)
        assert client.get("/healthz").status_code == 200
