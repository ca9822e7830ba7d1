"""The command: what it prints and writes, and what it says to wrong input."""

import json

import numpy as np
import pytest
from PIL import Image

from pipelines.evaluate import main
from pipelines.evaluate.segmentation import TASKS
from pipelines.evaluate.segmentation_report import TABLES, report
from pipelines.segmentation import segmenter
from seem.evaluation import sticker_source
from seem.evaluation.tasks import ClickTask
from tests.seem.evaluation.folders import davis_folder, instances_file, panoptic_folder
from tests.seem.predicting import tiny_predictor


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The tiny random model under any name, and few clicks."""
    monkeypatch.setattr(segmenter, "open_predictor", lambda *_, **__: tiny_predictor())
    make = ClickTask.__init__
    monkeypatch.setattr(ClickTask, "__init__", lambda self, rounds=2: make(self, min(rounds, 2)))


def run(*arguments):
    return main(["segmentation", *map(str, arguments)])


def refused(capsys, *arguments):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("lavallama evaluate segmentation: error: ")
    return captured.err


def test_every_task_has_a_table():
    assert set(TABLES) == set(TASKS)


def test_stickers_end_to_end(tmp_path, capsys):
    out = tmp_path / "new" / "report"
    classes = "llama,white,dog"
    assert run("--scenes", 2, "--out", out, "--pictures", 1, "--classes", classes) == 0
    printed = capsys.readouterr().out
    results = json.loads(printed.splitlines()[-1])
    assert json.loads((out / "report.json").read_text()) == results
    text = (out / "report.md").read_text()
    assert printed.startswith(text)
    assert set(results) == {"model", "data", *TASKS, "left_out"}
    for title in ("Clicks", "Box", "Phrases", "Panoptic", "Reference", "Video", "Left out"):
        assert f"## {title}" in text
    [picture] = (out / "pictures").iterdir()
    with Image.open(picture) as image:
        assert image.width > 3 * image.height
        assert np.asarray(image).std() > 10


def test_photographs_are_marked_by_default(tmp_path, capsys):
    assert run("--data", panoptic_folder(tmp_path / "photos"), "--limit", 2) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(results) == {"model", "data", "clicks", "box", "scribble", "mask", "left_out"}
    assert results["clicks"]["things"]["objects"] == 2
    assert results["clicks"]["stuff"]["objects"] == 2
    assert results["left_out"] == {"crowds": 1, "segments smaller than 0.5% of their image": 1}


def test_panoptic_of_some_classes(tmp_path, capsys):
    folder = panoptic_folder(tmp_path / "photos")
    assert run("--data", folder, "--tasks", "panoptic", "--classes", "dog,tree-merged") == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["panoptic"]["instances"]["objects"] == 2
    assert results["panoptic"]["semantic"]["classes"] == 2


def test_a_folder_of_films(tmp_path, capsys):
    assert run("--data", davis_folder(tmp_path)) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["video"]["objects"] == 2
    assert results["video"]["frames"] == 2


def test_films_of_photographs(tmp_path, capsys):
    folder = panoptic_folder(tmp_path)
    assert run("--data", folder, "--films", "--limit", 1) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["video"]["films"] == 1
    assert results["video"]["frames"] == 10
    assert {"mask", "click"} <= set(results["video"])
    said = refused(capsys, "--data", folder, "--films", "--tasks", "clicks")
    assert "has nothing for 'clicks'; it has video" in said
    said = refused(capsys, "--data", davis_folder(tmp_path / "davis"), "--films")
    assert "films are made of images" in said


def test_a_broken_film_is_left_out_and_named_or_refused(tmp_path, capsys):
    folder, out = davis_folder(tmp_path / "films"), tmp_path / "out"
    (folder / "JPEGImages" / "480p" / "squares" / "00002.jpg").write_bytes(b"")
    assert "squares: a film that" in refused(capsys, "--data", folder, "--strict")
    said = refused(capsys, "--data", folder, "--out", out)
    assert "nothing to measure of video; left out: 1 a film that cannot be read" in said
    assert not out.exists()


@pytest.mark.parametrize("name", ["_annotations.coco.json", "result.json"])
def test_files_of_coco_may_be_called_as_tools_call_them(name, tmp_path, capsys):
    file = instances_file(tmp_path / "export", name)
    assert run("--data", file, "--tasks", "box") == 0
    folder = panoptic_folder(tmp_path / "maps")
    for old, new in (("panoptic.json", name), ("panoptic", name.removesuffix(".json"))):
        (folder / old).rename(folder / new)
    if name == "result.json":
        assert run("--data", folder / name, "--tasks", "panoptic") == 0


def test_one_file_of_several(tmp_path, capsys):
    folder = panoptic_folder(tmp_path / "both")
    file = instances_file(folder)
    assert "name one of these files" in refused(capsys, "--data", folder)
    assert run("--data", file, "--tasks", "box") == 0


def test_the_same_command_prints_the_same(capsys):
    printed = []
    for _ in range(2):
        assert run("--scenes", 2, "--tasks", "scribble,clicks") == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "/none/such"], "no such file or folder"),
        (["--tasks", "colours"], "there is no 'colours'; choose from clicks"),
        (["--classes", "owl,bread"], "got bread"),
        (["--pictures", "1"], "say --out DIR too"),
        (["--limit", "3"], "--scenes"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, arguments, said):
    assert said in refused(capsys, *arguments)


def test_folders_without_data_are_one_line(tmp_path, capsys):
    assert "found none of them" in refused(capsys, "--data", tmp_path)
    (tmp_path / "notes.json").write_text("{}")
    assert "expected a file named as" in refused(capsys, "--data", tmp_path / "notes.json")
    (tmp_path / "panoptic.json").write_text("{")
    assert "not valid JSON" in refused(capsys, "--data", tmp_path)


def test_what_the_data_lacks_is_one_line(tmp_path, capsys):
    folder = davis_folder(tmp_path)
    assert "has nothing for 'phrase'" in refused(capsys, "--data", folder, "--tasks", "phrase")
    said = refused(capsys, "--data", folder, "--pictures", 1, "--out", tmp_path / "out")
    assert "leave it out for films" in said
    assert not (tmp_path / "out").exists()


def test_what_is_left_out_is_named_in_full_or_refused(tmp_path, capsys):
    file, out = instances_file(tmp_path / "data"), tmp_path / "out"
    data = json.loads(file.read_text())
    data["annotations"][0]["segmentation"].append([48, 30])
    data["annotations"].append({**data["annotations"][1], "image_id": 77})
    file.write_text(json.dumps(data))
    assert run("--data", file, "--tasks", "mask", "--out", out) == 0
    left_out = json.loads(capsys.readouterr().out.splitlines()[-1])["left_out"]
    assert left_out["a part of an outline left out"] == 1
    assert left_out["an annotation of an image that the file does not list"] == 1
    lines = (out / "dropped.jsonl").read_text().splitlines()
    assert [json.loads(line)["of"] for line in lines] == ["instances.json", "a"]
    said = refused(capsys, "--data", file, "--tasks", "mask", "--strict")
    assert "2 entries" in said
    assert "annotations[3].image_id: 77" in said
    small = [1, 1, 2, 1, 2, 2]
    for annotation in data["annotations"]:
        annotation["segmentation"] = [small]
    file.write_text(json.dumps(data))
    said = refused(capsys, "--data", file, "--tasks", "mask", "--out", tmp_path / "other")
    assert "there is nothing to measure of mask; left out: " in said
    assert not (tmp_path / "other").exists()


def test_a_broken_image_is_left_out_and_named_or_refused(tmp_path, capsys):
    folder = panoptic_folder(tmp_path / "photos")
    (folder / "images" / "007.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    asked = ("--data", folder, "--tasks", "box", "--out", out)
    assert "007.jpg" in refused(capsys, *asked, "--strict")
    assert not out.exists()
    assert run(*asked) == 0
    assert "1 a picture that cannot be read" in capsys.readouterr().out
    assert "007.jpg" in (out / "dropped.jsonl").read_text()
    (folder / "panoptic" / "005.png").unlink()
    assert "nothing to measure of box" in refused(capsys, *asked)


def test_a_model_without_a_tokenizer_is_asked_without_words(monkeypatch, capsys):
    def wordless(*_, **__):
        predictor = tiny_predictor()
        predictor.words.tokenizer = None
        return predictor

    monkeypatch.setattr(segmenter, "open_predictor", wordless)
    monkeypatch.setattr(sticker_source, "TASKS", ("box", "phrase", "panoptic"))
    assert run("--scenes", 2) == 0
    captured = capsys.readouterr()
    assert "no tokenizer: phrase, panoptic" in captured.err
    results = json.loads(captured.out.splitlines()[-1])
    assert "phrase" not in results
    assert results["left_out"] == {"tasks in words (phrase, panoptic)": 2}
    assert "tokenizer" in refused(capsys, "--scenes", 2, "--tasks", "phrase")


def test_a_report_of_nothing_but_what_was_left_out():
    text = report({"model": "m", "data": "d", "left_out": {"crowds": 2}})
    assert "# Segmentation by `m`" in text
    assert "- 2 crowds" in text
