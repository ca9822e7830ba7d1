"""`lavallama instruct`, with a teacher behind an endpoint."""

import json
from pathlib import Path

import pytest

from grounding.drops import Drops
from grounding.llava.records import read_records
from grounding.prompt import GroundedPrompt, Region
from pipelines.instruct.command import main
from pipelines.instruct.sources import read_scenes
from tests.grounding.llava.test_endpoint import Server, answers, server

__all__ = ["server"]  # a fixture
LLAMA = (0.1, 0.2, 0.5, 0.6)


def document(name: str, **more) -> dict:
    regions = (
        Region(phrase="lava llama", box=LLAMA, attributes={"name": "llama", "thing": True}),
        Region(phrase="beach", box=(0, 0, 1, 1), attributes={"name": "beach", "thing": False}),
    )
    return GroundedPrompt(prompt="a lava llama", image=name, regions=regions, **more).to_dict()


@pytest.fixture
def annotated(tmp_path) -> Path:
    """What `lavallama annotate` makes."""
    folder = tmp_path / "annotated"
    folder.mkdir()
    said = {"caption": "given", "caption 2": "a llama by the sea"}
    documents = [
        document("../pictures/a.png", provenance={"settings": said}),
        document("../pictures/more/b.png"),
    ]
    text = "".join(f"{json.dumps(one)}\n" for one in documents)
    (folder / "documents.jsonl").write_text(f"{text}{{}}\n")
    (tmp_path / "pictures" / "more").mkdir(parents=True)
    for name in ("a.png", "more/b.png"):
        (tmp_path / "pictures" / name).touch()
    return folder


def test_documents_are_scenes(annotated):
    drops = Drops()
    first, second = read_scenes(annotated, None, None, drops)
    assert (first.name, second.name) == ("a.png", "more/b.png")
    assert first.captions == ("a lava llama", "a llama by the sea")
    assert first.objects == (("lava llama", LLAMA),)
    assert set(first.nouns) == {"llama", "beach"}
    assert drops.pictures == 2


def test_coco_captions_and_instances_are_scenes(tmp_path):
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 10, "height": 20} for n in (1, 2)]
    captions = [{"id": n, "image_id": 1, "caption": f"caption {n}"} for n in range(5)]
    box = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 4, 4, 8], "iscrowd": 0}
    names = [{"id": 3, "name": "dog"}]
    (tmp_path / "captions.json").write_text(json.dumps({"images": images, "annotations": captions}))
    (tmp_path / "instances.json").write_text(
        json.dumps({"images": images, "annotations": [box], "categories": names})
    )
    [scene] = read_scenes(tmp_path / "captions.json", tmp_path / "instances.json", None, Drops())
    assert len(scene.captions) == 5
    assert scene.objects == (("dog", (0.1, 0.2, 0.5, 0.6)),)
    [bare] = read_scenes(tmp_path / "captions.json", None, None, Drops())
    assert bare.objects == ()


def run(annotated: Path, server: Server, *more: str) -> int:
    out = annotated.parent / "taught.jsonl"
    remote = ["--model", server.url, "--served-model", "m"]
    return main([str(annotated), "--out", str(out), *remote, *more])


def test_records_are_written_and_nothing_is_asked_twice(annotated, server, capsys):
    server.says(answers("What is there?\n===\nA lava llama.\n===\nAnd a dog?\n===\nYes, a dog."))
    assert run(annotated, server, "--kinds", "conversation") == 0
    out = annotated.parent / "taught.jsonl"
    records = read_records(out)
    assert [record.id for record in records] == ["a.png-conversation", "more/b.png-conversation"]
    assert records[0].turns == ("What is there?", "A lava llama.")
    assert all((annotated.parent / "pictures" / str(record.image)).is_file() for record in records)
    report = json.loads(Path(f"{out}.report.json").read_text())
    assert report["dropped_answers"] == {"names an object that is not there": 2}
    assert report["pictures"]["dropped_pictures"] == {"a document that names no image": 1}
    asked = {one["messages"][-1]["content"]: one["seed"] for _, _, one in server.requests}
    assert set(asked) == {"a lava llama\na llama by the sea", "a lava llama"}
    assert len(set(asked.values())) == 2
    whole = out.read_bytes()
    server.says("", 500)
    assert run(annotated, server, "--kinds", "conversation") == 0
    assert out.read_bytes() == whole
    assert len(server.requests) == 2
    first, second = map(json.loads, whole.splitlines())
    first["conversations"][1]["value"] = "An ice llama."
    own = second | {"id": "mine"}
    out.write_text(f"{json.dumps(first)}\n{json.dumps(own)}\n")
    for _ in range(2):  # what people changed, added and took out stays so
        assert run(annotated, server, "--kinds", "conversation") == 0
        assert [record.id for record in read_records(out)] == ["a.png-conversation", "mine"]
        assert read_records(out)[0].turns[1] == "An ice llama."
        assert "by hand: 2 changed, 1 taken out" in capsys.readouterr().out
    capsys.readouterr()
    assert run(annotated, server, "--kinds", "conversation", "--seed", "1") == 2
    assert "was begun with seed 0, now it is 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--kinds", "poem"], "--kinds takes conversation,detail,reasoning; got poem"),
        (["--requests", "0"], "--requests must be 1 to 256"),
        (["--tries", "0"], "--tries must be at least 1"),
        (["--images", "elsewhere"], "does not lie below elsewhere"),
    ],
)
def test_wrong_options_are_one_line(annotated, server, capsys, more, message):
    assert run(annotated, server, *more) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert not server.requests
