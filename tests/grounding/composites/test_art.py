import hashlib
import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from grounding.composites.art import KINDS, gather_art, read_table
from grounding.composites.card import describe_art
from grounding.errors import LavallamaError

PERMISSIVE = {"public domain", "CC0-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0", "MIT"}
PERMISSIVE |= {"Apache-2.0", "BSD-3-Clause"}
CARD = Path(__file__).parents[3] / "docs" / "photographs-art.md"


def png(picture):
    return cv2.imencode(".png", picture)[1].tobytes()


@pytest.fixture
def table(tmp_path):
    cutout = np.zeros((80, 90, 4), np.uint8)
    cutout[20:60, 30:70] = (10, 20, 200, 255)
    cutout[20:40, 30:40] = 0
    photograph = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    files = {"art/a.png": png(cutout), "art/no.png": png(cutout), "photo.png": png(photograph)}
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    path = tmp_path / "art.tgz"
    path.write_bytes(data.getvalue())
    rules = [
        {"pack": "cutouts", "path": "art/*.png", "except": ["*/no.png"]},
        {"pack": "photographs", "path": "photo.png"},
    ]
    sha256 = hashlib.sha256(data.getvalue()).hexdigest()
    return [{"name": "some", "urls": [path.as_uri()], "sha256": sha256, "files": rules}]


def test_art_is_packed_once(tmp_path, table):
    art = gather_art(tmp_path / "art", table)
    assert [len(getattr(art, kind)) for kind in KINDS] == [1, 0, 1, 0]
    assert art.cutouts[0].shape == (40, 40, 4)
    assert art.cutouts[0][30, 20].tolist() == [200, 20, 10, 255]
    assert art.photographs[0].shape == (90, 120, 5)
    (tmp_path / "art.tgz").unlink()
    (tmp_path / "art" / "downloads" / "art.tgz").unlink()
    assert len(gather_art(tmp_path / "art", table).cutouts) == 1


def test_other_rules_are_other_packs(tmp_path, table):
    assert len(gather_art(tmp_path / "art", table).cutouts) == 1
    del table[0]["files"][0]["except"]
    assert len(gather_art(tmp_path / "art", table).cutouts) == 2


def test_a_table_that_names_nothing_is_one_line(tmp_path, table):
    table[0]["files"] = [{"pack": "cutouts", "path": "elsewhere/*"}]
    with pytest.raises(LavallamaError, match="has no file that the table names"):
        gather_art(tmp_path / "art", table)


def test_all_art_is_under_a_permissive_licence():
    for archive in read_table():
        assert len(archive["sha256"]) == 64
        assert all(url.startswith("https://") for url in archive["urls"])
        for rule in archive["files"]:
            assert rule["pack"] in KINDS
            assert rule["licence"] in PERMISSIVE
            assert rule["author"]
            assert rule["source"]
            assert rule["title"]


def test_the_model_card_is_the_table():
    assert CARD.read_text("utf-8") == describe_art()
