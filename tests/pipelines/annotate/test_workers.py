"""Several processes, or a cluster, annotate as one process does."""

import json
from pathlib import Path

import pytest

from grounding.errors import LavallamaError
from pipelines.annotate import workers
from pipelines.annotate.raw import Raw, list_pictures
from pipelines.annotate.settings import Names, Settings
from tests.pipelines.annotate.stub import write_pictures
from tests.pipelines.tiny_segmenter import write_segmenter


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> tuple[list[Raw], Settings]:
    """Pictures, and a random segmenter of which everything is kept."""
    folder: Path = tmp_path_factory.mktemp("work")
    write_pictures(folder / "pictures", 5)
    settings = Settings(
        segmenter=str(write_segmenter(folder / "seem")),
        names=Names(things=("llama", "dog")),
        min_score=0.0,
        agreement=0.0,
        device="cpu",
    )
    return list_pictures(folder / "pictures"), settings


@pytest.mark.slow
def test_two_processes_annotate_as_one_does(work):
    raws, settings = work
    one = list(workers.annotations(raws, settings))
    assert [raw for raw, _ in one] == raws
    assert any("document" in annotation for _, annotation in one)
    assert list(workers.annotations(raws, settings, 2)) == one


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_cluster_annotates_as_one_process_does(work):
    ray = pytest.importorskip("ray")
    raws, settings = work
    told = {raw.name: annotation for raw, annotation in workers.annotations(raws, settings)}
    try:
        found = {raw.name: one for raw, one in workers.ray_annotations(raws, settings)}
    finally:
        ray.shutdown()
    assert json.dumps(found, sort_keys=True) == json.dumps(told, sort_keys=True)


def test_ray_that_is_missing_is_named(monkeypatch):
    find = workers.importlib.util.find_spec
    monkeypatch.setattr(
        workers.importlib.util, "find_spec", lambda name: None if name == "ray" else find(name)
    )
    with pytest.raises(LavallamaError, match=r"\[cluster\]"):
        list(workers.ray_annotations([], Settings()))
