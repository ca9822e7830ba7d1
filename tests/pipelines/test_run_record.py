"""Work goes on with what it was begun with, or says in one line what is another."""

import json
import logging
import subprocess
import sys

import pytest

from grounding.errors import OutputError, PromptError
from pipelines.run_record import MAY_CHANGE, open_run, read_record

BEGUN = {"seed": 0, "names": ("a", "b"), "rate": 0.5, "steps": 10, "data": "mine.json"} | {
    "data_digest": "ab" * 32
}


def begin(path, **settings):
    with open_run(path) as record:
        record.settle({**BEGUN, **settings})
        (path.parent / "checkpoint.pt").write_bytes(b"work")


def fail(path, error):
    with open_run(path) as record:
        record.settle(BEGUN)
        raise error


@pytest.fixture
def path(tmp_path):
    begin(tmp_path / "run" / "run.json")
    return tmp_path / "run" / "run.json"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("seed", 1, "begun with seed 0, now it is 1;"),
        ("names", ("a",), "begun with names a,b, now it is a;"),
        ("rate", None, "begun with rate 0.5, now it is none;"),
        (
            "data_digest",
            "cd" * 32,
            f"data mine.json ({'ab' * 6}), now it is mine.json ({'cd' * 6});",
        ),
    ],
)
def test_what_is_another_is_named_with_both_values_and_the_cure(path, name, value, words):
    before = path.read_bytes()
    with pytest.raises(OutputError) as error:
        begin(path, **{name: value})
    assert words in str(error.value)
    assert str(error.value).endswith("or name another folder with --runs")
    assert path.read_bytes() == before


def test_what_may_change_is_written_down_anew(path):
    assert "steps" in MAY_CHANGE
    begin(path, steps=20)
    assert read_record(path) == {**BEGUN, "names": ["a", "b"], "steps": 20} | {
        "versions": read_record(path)["versions"]
    }


def test_a_setting_that_came_later_is_no_difference(path):
    begin(path, colour="teal")
    with pytest.raises(OutputError, match="colour"):
        begin(path, colour="red")


def test_other_versions_are_told(path, caplog):
    content = read_record(path)
    content["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(content))
    begin(path)
    assert "was begun with torch 1.0 (now" in caplog.text


def test_work_without_a_record_goes_on_and_says_so(path, caplog):
    path.unlink()
    with pytest.raises(PromptError):
        fail(path, PromptError("it does not fit"))
    assert "begun without a record" in caplog.text
    assert not path.exists()
    begin(path)
    assert path.exists()


def test_a_damaged_record_is_one_line(path):
    path.write_text("{")
    with pytest.raises(OutputError, match="is not valid JSON"):
        begin(path)


@pytest.mark.parametrize("error", [PromptError("no such model"), KeyboardInterrupt()])
def test_what_failed_before_any_work_binds_nobody(tmp_path, error):
    path = tmp_path / "run" / "run.json"
    with pytest.raises(type(error)):
        fail(path, error)
    assert not path.parent.exists()
    begin(path, seed=1)


def test_a_kill_before_any_work_binds_nobody(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(BEGUN))
    begin(path, seed=1)
    assert read_record(path)["seed"] == 1


def test_parts_that_are_worked_on_at_once_have_one_record(tmp_path):
    path = tmp_path / "settings.json"
    part = {"elsewhere": "--out", "work": ("*.jsonl",), "held": False}
    with open_run(path, **part) as one, open_run(path, **part) as two:
        one.settle({"least": 0.5})
        with pytest.raises(OutputError, match=r"begun with least 0.5, now it is 0.7;.*--out"):
            two.settle({"least": 0.7})


def test_a_second_process_is_told_at_once(path):
    script = (
        "import sys; from pathlib import Path; from pipelines.run_record import open_run\n"
        "with open_run(Path(sys.argv[1])): pass"
    )
    with open_run(path):
        second = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
        )
    assert "another process is writing it" in second.stderr
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 0


def test_what_a_killed_run_left_half_written_is_removed(path):
    left = path.parent / f".{'0' * 16}.part"
    left.write_bytes(b"half")
    with open_run(path):
        assert not left.exists()


@pytest.fixture(autouse=True)
def told(caplog):
    caplog.set_level(logging.WARNING)
