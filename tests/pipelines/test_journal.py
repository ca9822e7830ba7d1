"""What is in a journal is there whole, wherever a kill cut it off."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import OutputError
from pipelines.journal import Journal, read_entries

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


def test_a_full_disk_is_told_with_the_path(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append("a", "1", {})
        whole, file = path.read_bytes(), journal._file

        class Full:
            def write(self, data):
                return file.write(data[:5])  # what there is room for

            def close(self):
                file.close()

        monkeypatch.setattr(journal, "_file", Full())
        with pytest.raises(OutputError, match=r"cannot write .*journal.jsonl: no space left"):
            journal.append("b", "2", {})
    with Journal(path) as journal:
        assert list(journal.entries) == ["a"]
        assert path.read_bytes() == whole
