"""Stores of pictures where there is no room for them."""

import errno
import os

import pytest

from grounding.errors import OutputError
from grounding.stickers.store import open_store


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="files cannot be reserved here")
def test_a_full_disk_is_one_line_before_anything_is_drawn(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    draw = pytest.fail
    with pytest.raises(OutputError, match=r"images.npy: no space left on device; it needs 1024 MB"):
        open_store(tmp_path / "scenes", {"images": (2**20,)}, 2**10, draw)
    assert not list((tmp_path / "scenes").glob("*.npy"))
