"""Annotated folders: nothing is lost or doubled, and what trains the models can read it."""

import gc
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from grounding.errors import OutputError, PromptError
from grounding.llava.records import read_records
from pipelines.annotate import annotator
from pipelines.annotate.command import main
from pipelines.annotate.dataset import Dataset
from pipelines.annotate.raw import list_pictures
from pipelines.annotate.settings import Settings
from pipelines.training.sources import open_source
from seem.coco import read_panoptic_png
from seem.train.coco_scenes import open_coco
from tests.pipelines.annotate.stub import Stub, write_pictures

ORIENTATION = 0x0112


@pytest.fixture
def stubs(monkeypatch) -> list[Stub]:
    """Annotators are stubs; those that were opened."""
    opened: list[Stub] = []

    def open_stub(settings: Settings) -> Stub:
        opened.append(Stub(settings))
        return opened[-1]

    monkeypatch.setattr(annotator, "open_annotator", open_stub)
    return opened


def run(pictures: Path, out: Path, **how) -> Dataset:
    dataset = Dataset(folder=out, settings=Settings())
    dataset.annotate(list_pictures(pictures, without=out), **how)
    return dataset


def written(out: Path) -> dict[str, bytes]:
    """All results, by their names."""
    files = [path for path in out.rglob("*") if path.is_file() and path.parent.name != "journal"]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_killed_run_goes_on_without_a_lost_or_doubled_record(tmp_path, stubs):
    pictures, killed, whole = (tmp_path / name for name in ("pictures", "killed", "whole"))
    write_pictures(pictures, 40)
    command = [sys.executable, "-m", "tests.pipelines.annotate.stub", str(pictures), str(killed)]
    child = subprocess.Popen(command)
    journal = killed / "journal" / "0-of-1.jsonl"
    while child.poll() is None and not (journal.exists() and journal.stat().st_size > 3000):
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    with journal.open("ab") as file:
        file.write(b'{"digest": "cut o')  # as if it was hit while writing
    done = journal.read_bytes().count(b"\n")
    assert 0 < done < 40
    run(pictures, killed).write(list_pictures(pictures))
    assert stubs[-1].seen == 40 - done
    run(pictures, whole).write(list_pictures(pictures))
    assert written(killed) == written(whole)
    assert len(lines(killed / "gligen.jsonl")) == 40


def test_shards_make_what_one_run_makes(tmp_path, stubs):
    pictures = tmp_path / "pictures"
    write_pictures(pictures, 12)
    for index in (2, 0, 1):
        run(pictures, tmp_path / f"shard{index}", shard=(index, 3))
    for index in (1, 2):  # the journals of other machines
        shutil.copy(
            tmp_path / f"shard{index}" / "journal" / f"{index}-of-3.jsonl",
            tmp_path / "shard0" / "journal",
        )
    counts = [stub.seen for stub in stubs]
    assert sum(counts) == 12
    assert min(counts) > 0
    joined = run(pictures, tmp_path / "shard0")
    assert len(stubs) == 3, "all is done: no model is opened"
    joined.write(list_pictures(pictures))
    run(pictures, tmp_path / "one").write(list_pictures(pictures))
    assert written(tmp_path / "shard0") == written(tmp_path / "one")


def test_bad_pictures_are_reported_and_the_others_annotated(tmp_path, stubs):
    pictures = tmp_path / "pictures"
    write_pictures(pictures, 3)
    good = (pictures / "001.png").read_bytes()
    (pictures / "broken.png").write_bytes(good[:60])
    (pictures / "empty.jpg").write_bytes(b"")
    (pictures / "more").mkdir()
    (pictures / "more" / "again.png").write_bytes(good)
    Image.new("RGB", (8, 8)).save(pictures / "nothing.png")
    (pictures / "000.txt").write_bytes(b"\xff\xfe\0")
    (pictures / "gone.png").symlink_to("nowhere.png")
    drops = run(pictures, tmp_path / "out").write(list_pictures(pictures))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["pictures"] == drops.pictures == 2
    assert report["dropped_pictures"] == {
        "a picture that cannot be read": 2,
        "a link that leads nowhere": 1,
        "captions that cannot be read": 1,
        "nothing was found": 1,
        "the same picture as another": 1,
    }
    assert report["such_as"]["the same picture as another"] == ["more/again.png: 001.png"]
    assert report["dropped_regions"] == {"a score under 0.5": 2}
    names = [Path(line["image"]).name for line in lines(tmp_path / "out" / "documents.jsonl")]
    assert names == ["001.png", "002.png"]


def test_nothing_that_was_found_is_no_success(tmp_path, stubs, capsys):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    pictures.mkdir()
    Image.new("RGB", (8, 8)).save(pictures / "nothing.png")
    assert main([str(pictures), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "nothing is left to train on" in said
    assert "nothing was found" in (out / "dropped.jsonl").read_text()


def test_what_has_changed_is_annotated_anew(tmp_path, stubs):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(pictures, 3)
    run(pictures, out).write(list_pictures(pictures))
    (pictures / "000.txt").write_text("a blob of jam\na jam <image> blob\n")
    (pictures / "002.png").unlink()
    with pytest.raises(OutputError, match="000.png is not annotated yet"):
        Dataset(folder=out, settings=Settings()).write(list_pictures(pictures))
    run(pictures, out).write(list_pictures(pictures))
    assert stubs[-1].seen == 1
    assert [line["prompt"] for line in lines(out / "gligen.jsonl")] == [
        "a blob of jam",
        "a red blob",
    ]
    assert len(list((out / "annotations" / "panoptic_annotated").iterdir())) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves shards to the collector
def test_gligens_trainer_reads_lines_and_shards(tmp_path, stubs):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(pictures, 5)
    dataset = run(pictures, out)
    dataset.write(list_pictures(pictures), ("gligen",), 2)
    first = {path.name: path.read_bytes() for path in (out / "gligen").iterdir()}
    assert sorted(first) == [f"annotated-00000{number}.tar" for number in range(3)]
    pytest.importorskip("webdataset")
    for data in ("gligen.jsonl", "gligen/annotated-{000000..000002}.tar"):
        found = list(open_source(str(out / data), folder=tmp_path))
        assert len(found) == 5
        for number, one in enumerate(found):
            assert one.read() == (pictures / f"{number:03d}.png").read_bytes()
            [region] = one.document().regions
            assert region.phrase == "red blob"
            assert region.mask is None
    gc.collect()
    dataset.write(list_pictures(pictures), ("gligen",), 3)
    assert len(list((out / "gligen").iterdir())) == 2, "an old shard would double its records"


def test_seems_trainer_reads_the_panoptic_file(tmp_path, stubs):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(pictures, 2)
    with Image.open(pictures / "000.png") as image:
        exif = image.getexif()
        exif[ORIENTATION] = 6  # on its side
        image.save(pictures / "turned.png", exif=exif)
    run(pictures, out).write(list_pictures(pictures), ("seem",))
    scenes = open_coco(out / "annotations" / "panoptic_annotated.json", 24)
    assert scenes.vocabulary.things == ("blob",)
    assert scenes.vocabulary.stuff == ("sky",)
    for number, record in enumerate(scenes.records):
        assert record.concepts == ("sky", "blob")
        image, owners = scenes.read(number, np.random.default_rng(0))
        red = image[..., 0].astype(int) - image[..., 1] > 120
        blob = owners == 2
        assert (red & blob).sum() / (red | blob).sum() > 0.8
    file = json.loads((out / "annotations" / "panoptic_annotated.json").read_text())
    turned = file["images"][2]
    assert (turned["width"], turned["height"]) == (24, 32)
    assert turned["file_name"].startswith("upright/")
    png = out / "annotations" / "panoptic_annotated" / file["annotations"][2]["file_name"]
    assert read_panoptic_png(png.read_bytes()).shape == (32, 24)


def test_coco_instances_are_read_as_boxes_in_pixels(tmp_path, stubs):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(pictures, 1)
    run(pictures, out).write(list_pictures(pictures), ("seem",))
    instances, captions = (
        out / "annotations" / f"{kind}_annotated.json" for kind in ("instances", "captions")
    )
    [found] = open_source(str(instances), captions=captions, folder=tmp_path)
    document = found.document()
    assert document.prompt == "a red blob"
    assert document.regions[0].box == (5 / 32, 4 / 24, 20 / 32, 16 / 24)
    assert found.read() == (pictures / "000.png").read_bytes()


def test_llavas_records_name_pictures_of_the_folder(tmp_path, stubs):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(pictures, 4)
    run(pictures, out).write(list_pictures(pictures), ("llava",))
    records = read_records(out / "llava.json")
    assert all((pictures / str(record.image)).is_file() for record in records)
    assert [record.id for record in records] == [f"{number:03d}.png" for number in range(4)]
    for record in records:
        caption, region = record.turns[:2], record.turns[2:]
        assert caption[1] == "a red blob"
        box = "[0.16, 0."  # 5 of 32 pixels, on the padded square
        assert (region[1] == "a red blob") != region[1].startswith(box)
    assert {record.turns[3][0] for record in records} == {"a", "["}, "both ways are asked"


def test_results_in_the_folder_of_pictures_are_no_pictures(tmp_path, stubs):
    pictures = tmp_path / "pictures"
    write_pictures(pictures, 2)
    assert main([str(pictures), "--out", str(pictures / "out")]) == 0
    first = written(pictures / "out")
    assert main([str(pictures), "--out", str(pictures / "out")]) == 0
    assert written(pictures / "out") == first


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--min-score", "0.7"], "was begun with min score 0.5, now it is 0.7"),
        (["--shard", "4/4"], "--shard is I/N"),
        (["--for", "gligen,clip"], "--for takes gligen,seem,llava; got clip"),
        (["--overlap", "2"], "--overlap must lie in 0..1"),
        (["--max-regions", "0"], "--max-regions must be at least 1"),
        (["--workers", "0"], "--workers must be at least 1"),
        (["--vocabulary", "none.txt"], "none.txt: no such file"),
        (["--captions", "none.json"], "none.json: no such file"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, stubs, capsys, more, message):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(pictures, 1)
    run(pictures, out)
    assert main([str(pictures), "--out", str(out), *more]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_link_to_itself_is_dropped(tmp_path, stubs, capsys):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(pictures, 1)
    (pictures / "a.png").symlink_to("a.png")
    assert main([str(pictures), "--out", str(out)]) == 0
    assert "dropped 1 pictures: a link that leads nowhere" in capsys.readouterr().out


def break_a_picture(pictures: Path) -> list[str]:
    (pictures / "a.png").write_bytes(b"")
    return []


def break_captions(pictures: Path) -> list[str]:
    (pictures / "000.txt").write_bytes(b"\xff\xfe\0")
    return []


def break_a_link(pictures: Path) -> list[str]:
    (pictures / "a.png").symlink_to("a.png")
    return []


def copy_a_picture(pictures: Path) -> list[str]:
    shutil.copy(pictures / "000.png", pictures / "a.png")
    return []


def name_a_missing_picture(pictures: Path) -> list[str]:
    file = pictures.parent / "captions.json"
    file.write_text(json.dumps({"000.png": "a blob", "gone.png": "a hill"}))
    return ["--captions", str(file)]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (break_a_picture, "a.png: a picture that cannot be read"),
        (break_captions, "000.png: captions that cannot be read"),
        (break_a_link, "a.png: a link that leads nowhere"),
        (copy_a_picture, "a.png: the same picture as another (000.png)"),
        (name_a_missing_picture, "gone.png: a picture with captions that"),
    ],
)
def test_strict_refuses_what_would_be_dropped_before_any_work(
    tmp_path, stubs, capsys, spoil, words
):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(pictures, 2)
    strictly = [str(pictures), "--out", str(out), "--strict"]
    assert main(strictly) == 0, "nothing is wrong yet"
    shutil.rmtree(out)
    stubs.clear()
    more = spoil(pictures)
    capsys.readouterr()
    assert main([*strictly, *more]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "--strict, and 1 entries are not usable" in line
    assert words in line
    assert not stubs
    assert not out.exists()
    assert main([*strictly[:-1], *more]) == 0
    assert stubs, "without it the rest is annotated"


def test_a_folder_without_pictures_is_an_error(tmp_path):
    with pytest.raises(PromptError, match="found none"):
        list_pictures(tmp_path)
    with pytest.raises(PromptError, match="expected a folder"):
        list_pictures(tmp_path / "none")


def corrected(documents, change):
    lines = [json.loads(line) for line in documents.read_text().splitlines()]
    documents.write_text("".join(json.dumps(line) + "\n" for line in change(lines)))


def test_what_people_correct_stays_and_all_is_made_of_it(tmp_path, stubs, capsys):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(pictures, 4)
    again = [str(pictures), "--out", str(out)]
    assert main(again) == 0
    before = (out / "documents.jsonl").read_text()

    def change(lines):
        lines[0]["regions"][0]["phrase"] = "a teal cube"
        lines[1]["regions"].append({"id": "mine", "phrase": "a hat", "box": [0, 0, 0.5, 0.5]})
        return [lines[0], lines[1], lines[3]]

    corrected(out / "documents.jsonl", change)
    for _ in range(2):
        capsys.readouterr()
        assert main(again) == 0
        said = capsys.readouterr()
        assert "2 documents that were changed by hand stay so" in said.err
        assert "dropped 1 pictures: taken out of documents.jsonl by hand" in said.out
        lines = [json.loads(line) for line in (out / "documents.jsonl").read_text().splitlines()]
        assert len(lines) == 3
        assert lines[0]["regions"][0]["phrase"] == "a teal cube"
        assert "a teal cube" in (out / "gligen.jsonl").read_text()
        coco = json.loads((out / "annotations" / "instances_annotated.json").read_text())
        names = {one["id"]: one["name"] for one in coco["categories"]}
        assert {"teal cube", "hat"} <= set(names.values())
        [hat] = [one for one in coco["annotations"] if names[one["category_id"]] == "hat"]
        assert "segmentation" not in hat
        assert "a teal cube" in (out / "llava.json").read_text()
    (out / "documents.jsonl").unlink()
    assert main(again) == 0  # who deletes them has them made anew
    assert (out / "documents.jsonl").read_text() == before


@pytest.mark.parametrize("known", [True, False])
def test_corrections_are_told_from_what_we_wrote_in_any_layout(tmp_path, stubs, capsys, known):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(pictures, 2)
    again = [str(pictures), "--out", str(out)]
    assert main(again) == 0
    before = (out / "documents.jsonl").read_text()
    corrected(out / "documents.jsonl", lambda lines: [dict(reversed(x.items())) for x in lines])
    if not known:  # of a version that kept no digests
        (out / "written.json").unlink()
    assert main(again) == 0
    assert "by hand" not in capsys.readouterr().err
    assert (out / "documents.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("documents.jsonl", '{"image": "new.png"}', "'new.png' was written by hand"),
        ("documents.jsonl", "{", "line 3 is not valid JSON"),
        ("gligen.jsonl", "{}", "gligen.jsonl was changed by hand since it was written"),
        ("annotations/panoptic_annotated.json", " ", "was changed by hand"),
    ],
)
def test_what_would_be_lost_is_refused(tmp_path, stubs, capsys, name, text, words):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(pictures, 2)
    again = [str(pictures), "--out", str(out)]
    assert main(again) == 0
    with (out / name).open("a") as file:
        file.write(text + "\n")
    before = (out / name).read_bytes()
    capsys.readouterr()
    assert main(again) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
    assert (out / name).read_bytes() == before


def test_what_was_passed_over_is_counted_and_named(tmp_path, stubs):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(pictures, 2)
    (pictures / "loop.png").symlink_to("loop.png")
    drops = run(pictures, out).write(list_pictures(pictures, without=out))
    assert (drops.pictures, drops.lost_pictures) == (2, {"a link that leads nowhere": 1})
    report = json.loads((out / "report.json").read_text())
    assert report["such_as"]["a link that leads nowhere"] == ["loop.png"]
