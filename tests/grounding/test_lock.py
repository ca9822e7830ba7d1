"""A folder has one writer at a time."""

import threading

import numpy as np
import pytest

from grounding.errors import OutputError
from grounding.lock import LOCK, locked
from grounding.stickers import store

pytestmark = pytest.mark.skipif("__import__('sys').platform == 'win32'", reason="no such locks")


def test_a_second_writer_is_told(tmp_path):
    with locked(tmp_path / "a"), pytest.raises(OutputError, match="another process is writing it"):
        locked(tmp_path / "a").__enter__()
    with locked(tmp_path / "a"), locked(tmp_path / "b"):
        assert (tmp_path / "a" / LOCK).exists()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot write"):
        locked(tmp_path / "file").__enter__()


def test_pictures_are_drawn_by_one_while_others_wait(tmp_path, monkeypatch):
    drawn, begun, go = [], threading.Event(), threading.Event()

    def draw_all(folder, shapes, total, *_):
        drawn.append(total)
        begun.set()
        assert go.wait(20)
        np.save(folder / "images.npy", np.zeros((total, 2), np.uint8))
        (folder / store.RECORDS).write_text('{"n": 0}\n')

    monkeypatch.setattr(store, "_draw_all", draw_all)
    found = []

    def open_it():
        found.append(store.open_store(tmp_path / "scenes", {"images": (2,)}, 1, print))

    threads = [threading.Thread(target=open_it) for _ in range(2)]
    threads[0].start()
    assert begun.wait(20)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(20)
    assert drawn == [1]
    assert [records for _, records in found] == [[{"n": 0}]] * 2
