import concurrent.futures
import json

import numpy as np
import pytest

from grounding.composites import store
from grounding.stickers.store import open_store
from tests.grounding.composites.small_art import make_art


def draw(number):
    """Pictures of which number 300 cannot be drawn the first time."""
    if number == 300:
        raise RuntimeError("stopped")
    return {"images": np.full(4, number % 256, np.uint8)}, {"number": number}


def draw_after(number):
    return {"images": np.full(4, number % 256, np.uint8)}, {"number": -number}


def in_this_process(workers, context, start, given):
    return concurrent.futures.ThreadPoolExecutor(workers)


def test_what_a_stopped_process_made_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", in_this_process)
    folder, shapes = tmp_path / "store", {"images": (4,)}
    with pytest.raises(RuntimeError, match="stopped"):
        open_store(folder, shapes, 400, draw, workers=1)
    arrays, records = open_store(folder, shapes, 400, draw_after, workers=1)
    assert [record["number"] for record in records[:250]] == list(range(250))
    assert [record["number"] for record in records[250:]] == [-i for i in range(250, 400)]
    assert (arrays["images"][:, 0] == np.arange(400) % 256).all()
    assert sorted(path.name for path in folder.glob("records*")) == ["records.jsonl"]


def test_a_composite_is_drawn_by_its_number(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "gather_art", lambda folder: make_art())
    parts, record = store._draw(tmp_path, 64, 5, 17)
    again, _ = store._draw(tmp_path, 64, 5, 17)
    assert (parts["images"] == again["images"]).all()
    assert parts["images"].shape == (64, 64, 3)
    assert parts["ids"].shape == (64, 64)
    leaves = {leaf for segment in record["segments"] for leaf in segment["leaves"]}
    assert leaves == set(np.unique(parts["ids"]).tolist()) - {0}
    assert json.loads(json.dumps(record)) == record
