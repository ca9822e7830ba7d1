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
