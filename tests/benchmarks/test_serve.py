"""The load run finds no errors and no mixed answers, and says so."""

import json

import pytest

from benchmarks.serve import main


def test_the_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--requests", "30", "--connections", "3", "--side", "64"])
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["requests"] == 30
    assert report["errors"] == report["mixed"] == 0
    assert report["p50_ms"] <= report["p99_ms"]
