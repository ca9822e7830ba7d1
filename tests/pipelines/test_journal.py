"""What is in a journal is there whole, wherever a kill cut it off."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import OutputError, PromptError
from pipelines.journal import Journal, kept_settings, read_entries

WORK = {"a": "llama", "b": "ünï\n===", "c": "x" * 200}


def write(path: Path) -> bytes:
    with Journal(path) as journal:
        for key, text in WORK.items():
            journal.append(key, f"of {key}", {"text": text})
    return path.read_bytes()


@given(cut=st.integers(0, 400), noise=st.binary(max_size=20))
def test_a_cut_loses_no_more_than_the_line_that_it_hits(tmp_path_factory, cut, noise):
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    whole = write(path)
    noise = noise.replace(b"\n", b"")
    path.write_bytes(whole[:cut] + noise)
    lines = whole[:cut].count(b"\n")
    assert len(read_entries([path])) == lines
    with Journal(path) as journal:
        assert list(journal.entries) == list(WORK)[:lines]
        journal.append("d", "of d", {"text": "new"})
        assert journal.entries["d"].read() == {"text": "new"}
    found = read_entries([path])
    for key in [*list(WORK)[:lines], "d"]:
        [entry] = found[key]
        assert entry.digest == f"of {key}"
        assert entry.read() == {"text": WORK.get(key, "new")}


def test_a_line_that_makes_no_sense_is_no_work(tmp_path):
    path = tmp_path / "journal.jsonl"
    whole = write(path)
    first, second, third = whole.splitlines(keepends=True)
    path.write_bytes(first + b'{"key": "b", \0}\n' + third)
    with Journal(path) as journal:
        assert list(journal.entries) == ["a", "c"]
    assert second not in path.read_bytes()
    assert path.read_bytes().startswith(first)


def test_the_last_entry_of_a_key_counts(tmp_path):
    path = tmp_path / "journal.jsonl"
    for text in ("old", "new"):
        with Journal(path) as journal:
            journal.append("a", "1", {"text": text})
    with Journal(path) as journal:
        assert journal.entries["a"].read() == {"text": "new"}


def test_two_do_not_write_one_journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path), pytest.raises(OutputError, match="another process"):
        Journal(path)
    with Journal(path):
        assert path.exists()


def test_settings_stay_as_they_were(tmp_path):
    path = tmp_path / "work" / "settings.json"
    for names in (("a", "b"), ["a", "b"]):
        with kept_settings(path, {"least": 0.5, "names": names}):
            assert path.exists()
    with (
        pytest.raises(OutputError, match="another least"),
        kept_settings(path, {"least": 0.6, "names": ["a", "b"]}),
    ):
        pytest.fail("it was begun with others")
    assert json.loads(path.read_text())["least"] == 0.5
    path.write_text("{")
    with pytest.raises(OutputError, match="is not valid JSON"), kept_settings(path, {"least": 0.5}):
        pytest.fail("nobody knows what it was begun with")


@pytest.mark.parametrize("done", [False, True])
def test_settings_of_work_that_failed_at_once_are_forgotten(tmp_path, done):
    path = tmp_path / "work" / "settings.json"

    def fail() -> None:
        journal = Journal(path.parent / "journal" / "0.jsonl")
        with kept_settings(path, {"model": "lama"}), journal:
            if done:
                journal.append("a", "1", {})
            raise PromptError("no such model")

    for _ in range(2):
        with pytest.raises(PromptError, match="no such model"):
            fail()
        assert path.exists() is done
    with kept_settings(path, {"model": "lama" if done else "llama"}):
        assert path.exists()
