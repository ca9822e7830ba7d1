"""The benchmark of prompts runs, and reports what it says it reports."""

import json

import pytest

from benchmarks.segment import build, main, parse, prompts


def test_the_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--height", "64", "--width", "96"]
    main(["--size", "tiny", *sizes, "--repeats", "1", "--prompts", "2"])
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["image"] == [64, 96]
    assert set(report["prompt_ms"]) == set(report["anew_ms"]) == set(prompts(64, 96))
    assert report["prompts"] == 2
    assert set(report["share_of_sam"]) == {"click", "box"}


def test_two_builds_are_the_same() -> None:
    first, second = (build(parse(["--height", "64", "--width", "96"])).model for _ in range(2))
    assert all((a == b).all() for a, b in zip(first.parameters(), second.parameters(), strict=True))
