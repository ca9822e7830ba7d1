import importlib
import subprocess
import sys

import pytest

from pipelines import cli


def test_no_arguments_is_help(capsys):
    assert cli.main([]) == 0
    said = capsys.readouterr().out
    assert all(command in said for command in cli.COMMANDS)


def test_version(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("lavallama")


@pytest.mark.parametrize("arguments", [["draw"], ["--bogus"]])
def test_no_such_command(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("lavallama: error: ")


def test_dispatch(monkeypatch):
    seen = []
    module = importlib.import_module("pipelines.generate")
    monkeypatch.setattr(module, "main", lambda argv: seen.append(argv) or 7)
    assert cli.main(["generate", "--prompt", "x"]) == 7
    assert seen == [["--prompt", "x"]]


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys; from pipelines.cli import main\n"
        f"try: main({arguments})\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: lavallama" in done.stdout
