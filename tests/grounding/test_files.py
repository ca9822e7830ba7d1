import os
from pathlib import Path

import pytest

from grounding.errors import OutputError
from grounding.files import check_writable, write_files


def test_files_and_their_folders_are_made_and_replaced(tmp_path: Path):
    a, b = tmp_path / "x" / "y" / "a", tmp_path / "b"
    b.write_bytes(b"old")
    write_files({a: b"1", b: b"2"})
    assert (a.read_bytes(), b.read_bytes()) == (b"1", b"2")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "x", "y"]


def test_one_that_fails_keeps_all_from_being_written(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    old = tmp_path / "old"
    old.write_bytes(b"old")
    with pytest.raises(OutputError, match="file/b"):
        write_files({old: b"new", tmp_path / "file" / "b": b"2"})
    assert old.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "old"]


def test_what_a_function_wrote_by_half_is_removed(tmp_path: Path):
    def fail(partial: Path):
        partial.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OutputError, match="disk full"):
        write_files({tmp_path / "x": fail})
    assert list(tmp_path.iterdir()) == []


def test_checking_leaves_no_trace(tmp_path: Path):
    check_writable([tmp_path / "new" / "deep" / "a.png", tmp_path / "b.png"])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="is a folder"):
        check_writable([tmp_path])


def test_temporaries_are_new_files_of_names_that_cannot_be_guessed(tmp_path: Path):
    seen = []

    def write(part: Path):
        seen.append(part.name)
        part.write_bytes(b"x")

    for _ in range(2):
        write_files({tmp_path / "x": write})
    assert seen[0] != seen[1]
    assert all(len(name) > 16 for name in seen)


def test_rights_are_those_of_a_new_file(tmp_path: Path):
    (tmp_path / "own").write_bytes(b"")
    write_files({tmp_path / "x": b""})
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "own").stat().st_mode


def test_what_speaks_of_the_others_is_away_while_they_change(tmp_path: Path, monkeypatch):
    picture, document = tmp_path / "x.png", tmp_path / "x.json"
    write_files({document: b"1", picture: b"1"})
    replace, seen = os.replace, []

    def watched(part, path):
        seen.append((path.name, document.exists()))
        replace(part, path)

    monkeypatch.setattr("os.replace", watched)
    write_files({document: b"2", picture: b"2"}, last=document)
    assert seen == [("x.png", False), ("x.json", False)]
    assert document.read_bytes() == picture.read_bytes() == b"2"


def test_what_a_kill_left_long_ago_is_removed(tmp_path: Path):
    old, new, other = (tmp_path / name for name in (f".{'a' * 16}.part", f".{'b' * 16}.part", ".x"))
    for path in (old, new, other):
        path.write_bytes(b"")
    for path in (old, other):
        os.utime(path, (0, 0))
    write_files({tmp_path / "x": b""})
    assert not old.exists()
    assert new.exists()
    assert other.exists()
