"""The command, with a generator that paints and a detector that knows: right, wrong, abused."""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gligen.evaluation import frechet
from gligen.evaluation.layout import Instance
from grounding.stickers.world import PRESETS
from pipelines.evaluate import grounding_detectors, main
from pipelines.evaluate.grounding_data import open_layouts
from pipelines.evaluate.grounding_options import TASKS, grounding_options
from pipelines.evaluate.grounding_report import LABELS, report
from pipelines.generation.generator import Generator
from tests.gligen.evaluation.oracle import Oracle, Painter, mirrored, nothing, of_stone

PROMPTS = ("counting", "attribute", "spatial", "negation")
SIDE = 40
BOXES = [{"id": 1, "image_id": 5, "category_id": 2, "bbox": [4, 4, 20, 30]}]


@pytest.fixture
def world(monkeypatch):
    """The oracle, and the painters that stand for the generator: with gates, then without."""
    oracle = Oracle()
    painters = [Painter(oracle), Painter(oracle, nothing)]
    opened = []

    def from_pretrained(model, adapter, **options):
        opened.append((model, adapter, options["device"]))
        return painters[adapter == "none"]

    monkeypatch.setattr(Generator, "from_pretrained", from_pretrained)
    monkeypatch.setattr(grounding_detectors, "open_detector", lambda *_, **__: oracle)
    return oracle, painters, opened


def run(*arguments):
    return main(["grounding", *map(str, arguments)])


def results_of(capsys, *arguments):
    assert run(*arguments) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def refused(capsys, *arguments):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("lavallama evaluate grounding: error: ")
    return captured.err


def coco_folder(folder, *, images=True):
    """One picture of a dog, one without boxes."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "val").mkdir()
    entries = [
        {"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE}
        for number in (5, 6)
    ]
    for entry in entries if images else ():
        pixels = np.random.default_rng(entry["id"]).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "val" / entry["file_name"])
    data = {
        "images": entries,
        "annotations": BOXES,
        "categories": [{"id": 2, "name": "dog"}, {"id": 4, "name": "zebra"}],
    }
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(data))
    said = {"annotations": [{"image_id": 5, "caption": "a dog sits"}]}
    (folder / "annotations" / "captions_val.json").write_text(json.dumps(said))
    return folder


def test_a_perfect_generator_scores_one_and_a_blank_one_nothing(world, tmp_path, capsys):
    out = tmp_path / "new" / "report"
    tasks = ",".join(("ap", "instances", *PROMPTS))
    results = results_of(capsys, "--scenes", 6, "--tasks", tasks, "--out", out, "--pictures", 2)
    gated, floor = results["gated"], results["floor"]
    assert (gated["ap"]["ap"], gated["ap"]["ap50"], floor["ap"]["ap"]) == (1, 1, 0)
    assert gated["instances"]["all"]["miou"] == gated["instances"]["all"]["success"] == 1
    assert floor["instances"]["all"]["miou"] == 0
    for task in PROMPTS:
        assert (gated[task]["accuracy"], gated[task]["prompts"]) == (1, 2)
        assert floor[task]["accuracy"] == 0
    assert results["detector"] == {"name": "oracle", "threshold": 0.5}
    assert json.loads((out / "report.json").read_text()) == results
    text = (out / "report.md").read_text()
    for title in ("Average precision", "Instances", "Prompts", "Pictures", "Left out"):
        assert f"## {title}\n" in text
    assert "Recognised" not in text
    sheets = sorted(path.name for path in (out / "pictures").iterdir())
    assert sheets == sorted(f"{name}.png" for name in ("layouts", *PROMPTS))
    for name in sheets:
        assert f"(pictures/{name})" in text
        with Image.open(out / "pictures" / name) as sheet:
            assert sheet.width > 3 * 300, "true pictures, with gates, without"
            assert sheet.height > 2 * 300
            assert np.asarray(sheet).std() > 5


def test_mirrored_pictures_lose_their_places_but_not_their_names(world, capsys):
    _, painters, _ = world
    painters[0].spoil = mirrored
    tasks = "instances,counting,attribute,spatial,negation"
    results = results_of(capsys, "--scenes", 24, "--tasks", tasks, "--no-floor")
    gated = results["gated"]
    assert gated["instances"]["all"]["success"] < 0.7
    assert gated["counting"]["accuracy"] == gated["negation"]["accuracy"] == 1
    assert gated["attribute"]["accuracy"] == 1
    assert 0 < gated["spatial"]["accuracy"] < 1, "above and below stay as they are"
    assert "floor" not in results


def test_pictures_all_of_stone_lose_their_attributes_but_not_their_places(world, capsys):
    _, painters, _ = world
    painters[0].spoil = of_stone
    results = results_of(capsys, "--scenes", 8, "--tasks", "ap,instances,attribute", "--no-floor")
    gated = results["gated"]
    assert gated["ap"]["ap"] == 1
    assert gated["instances"]["all"]["success"] < 1
    assert gated["attribute"]["accuracy"] == 0


def test_things_that_nobody_asked_for_spoil_numbers_and_absence(world, capsys):
    oracle, painters, _ = world
    corner = (0.0, 0.0, 0.02, 0.02)

    def crowded(things):
        nouns = {t.noun for t in things} | {"cat", "dog", "llama"}
        return [*things, *(Instance(noun=noun, box=corner) for noun in sorted(nouns))]

    painters[0].spoil = crowded
    results = results_of(capsys, "--scenes", 9, "--tasks", "counting,spatial", "--no-floor")
    assert results["gated"]["counting"]["accuracy"] == 0
    assert results["gated"]["spatial"]["accuracy"] == 1, "the surest are compared"


def test_the_judge_needs_no_detector(world, monkeypatch, capsys):
    monkeypatch.setattr(grounding_detectors, "open_detector", None)
    results = results_of(capsys, "--scenes", 6, "--tasks", "judge", "--no-floor")
    assert results["detector"] is None
    assert results["true"]["judge"]["all"]["concept_top1"] > 0.8
    assert set(results["true"]["judge"]) == {"held_out", "held_out_pairs", "all"}
    assert results["true"]["extent"]["box_iou"] > 0.8
    assert results["gated"]["extent"]["box_iou"] < 0.5, "the painter's pictures are blank"


def test_generators_are_asked_in_batches_with_the_steps_and_names_given(world, capsys):
    _, painters, opened = world
    results_of(
        capsys,
        *("--scenes", 20, "--tasks", "instances", "--batch", 2, "--steps", 3),
        *("--model", "m", "--adapter", "a", "--device", "cpu"),
    )
    assert opened == [("m", "a", "cpu"), ("m", "none", "cpu")]
    assert painters[0].batches == [(16, 2, 3), (4, 2, 3)]


def test_without_gates_there_is_the_floor_alone(world, capsys):
    _, _, opened = world
    results = results_of(capsys, "--scenes", 2, "--tasks", "ap", "--adapter", "none", "--no-floor")
    assert "gated" not in results
    assert "floor" in results
    assert [adapter for _, adapter, _ in opened] == ["none"]


def test_coco_s_boxes_with_their_pictures(world, tmp_path, capsys):
    oracle, _, _ = world
    folder = coco_folder(tmp_path / "coco")
    pixels = np.asarray(Image.open(folder / "val" / "5.png"))
    oracle.book[pixels.tobytes()] = (Instance(noun="dog", box=(0.1, 0.1, 0.6, 0.85)),)
    results = results_of(capsys, "--data", folder)
    assert results["data"] == "COCO annotations of 1 images"
    assert results["true"]["ap"]["ap"] == results["gated"]["ap"]["ap"] == 1
    assert results["gated"]["instances"]["all"]["instances"] == 1
    assert set(results["gated"]) == {"ap", "instances"}


def test_coco_s_boxes_without_their_pictures(world, tmp_path, capsys):
    folder = coco_folder(tmp_path / "coco", images=False)
    results = results_of(capsys, "--data", folder / "annotations" / "instances_val.json")
    assert "true" not in results
    assert results["gated"]["ap"]["ap"] == 1
    assert list(results["left_out"]) == ["true pictures: the images do not lie beside the boxes"]
    assert "true pictures" in refused(capsys, "--data", folder, "--fid")


def test_documents_of_any_format(world, tmp_path, capsys):
    (tmp_path / "a.json").write_text('[{"phrase": "dog", "box": [0.1, 0.1, 0.5, 0.5]}]')
    (tmp_path / "b.json").write_text('{"cat": [0.1, 0.1, 0.5, 0.5]}')
    results = results_of(capsys, "--data", tmp_path)
    assert results["data"] == "2 prompt documents"
    assert results["gated"]["ap"]["ap"] == 1
    assert results["gated"]["instances"]["1"]["pictures"] == 2
    assert results_of(capsys, "--data", tmp_path / "b.json")["data"] == "1 prompt document"


def test_what_the_detector_does_not_know_is_left_out_and_said(world, tmp_path, capsys):
    oracle, _, _ = world
    oracle.words = ("dog",)
    (tmp_path / "a.json").write_text('{"cat": [0.1, 0.1, 0.5, 0.5], "dog": [0.5, 0.5, 0.9, 0.9]}')
    results = results_of(capsys, "--data", tmp_path)
    assert results["gated"]["ap"]["instances"] == 1
    assert results["left_out"] == {"classes that the detector does not know (cat)": 1}
    oracle.words = ("zebra",)
    assert "knows nothing of the data, such as 'cat'" in refused(capsys, "--data", tmp_path)


def test_a_detector_that_tells_no_attributes(world, capsys):
    oracle, _, _ = world
    oracle.tells_attributes = False
    results = results_of(capsys, "--scenes", 3, "--tasks", "instances", "--no-floor")
    assert results["left_out"] == {"attributes, which the detector does not tell": 6}
    said = refused(capsys, "--scenes", 3, "--tasks", "attribute")
    assert "tells no attributes" in said


def test_regions_are_kept_apart_if_asked_for(world, tmp_path, capsys):
    _, [painter, _], _ = world
    arguments = ("--scenes", 2, "--tasks", "instances", "--no-floor", "--pictures", 0)
    assert results_of(capsys, *arguments, "--out", tmp_path)["isolate"] is False
    assert painter.isolated is None
    assert results_of(capsys, *arguments, "--out", tmp_path, "--isolate")["isolate"] is True
    assert painter.isolated is True
    assert "regions kept apart" in (tmp_path / "report.md").read_text()


def test_fid_counts_the_true_pictures_once(world, monkeypatch, capsys):
    seen = []

    class Distance:
        true = 0

        def add(self, image, *, real):
            seen.append(real)
            self.true += real

        def result(self):
            return {"fid": 12.5, "pictures": seen.count(False)}

    monkeypatch.setattr(frechet, "open_frechet", lambda *_, **__: Distance())
    results = results_of(capsys, "--scenes", 4, "--tasks", "fid")
    assert seen.count(True) == 4
    assert seen.count(False) == 8
    assert "fid" not in results["true"]
    assert results["floor"]["fid"]["fid"] == 12.5


def test_fid_without_its_library_is_one_line(world, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    assert 'pip install "lavallama[eval]"' in refused(capsys, "--scenes", 2, "--fid")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "/none/such"], "no such file or folder"),
        (["--tasks", "colours"], "there is no 'colours'; choose from judge"),
        (["--pictures", "1"], "say --out DIR too"),
        (["--limit", "3"], "--scenes"),
        (["--tasks", "judge", "--judge", "/none"], "pipelines.train judge"),
    ],
)
def test_wrong_arguments_are_one_line(world, capsys, arguments, said):
    assert said in refused(capsys, *arguments)


@pytest.mark.parametrize(
    "arguments", [["--scenes", "1"], ["--tasks", "ap,ap"], ["--threshold", "nan"], ["--steps", "0"]]
)
def test_values_out_of_range_are_one_line(capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        run(*arguments)
    assert capsys.readouterr().err.count("\n") == 1


def test_broken_data_is_one_line_and_nothing_is_written(world, tmp_path, capsys):
    out = tmp_path / "out"
    folder = tmp_path / "data"
    folder.mkdir()
    assert "found neither" in refused(capsys, "--data", folder, "--out", out)
    file = folder / "instances_x.json"
    file.write_text("{")
    assert "not valid JSON" in refused(capsys, "--data", folder, "--out", out)
    file.write_text("{}")
    assert "images: is missing" in refused(capsys, "--data", folder, "--out", out)
    (folder / "instances_y.json").write_text("{}")
    assert "name one of these files" in refused(capsys, "--data", folder, "--out", out)
    assert "is for the sticker world" in refused(
        capsys, "--data", _document(tmp_path), "--tasks", "judge"
    )
    coco = coco_folder(tmp_path / "coco")
    (coco / "val" / "5.png").write_bytes(b"no picture")
    assert "5.png" in refused(capsys, "--data", coco, "--out", out)
    assert not out.exists()


def test_what_cannot_be_read_costs_itself(tmp_path):
    how = {"world": PRESETS["small"], "scenes": 1}
    (tmp_path / "documents").mkdir()
    _document(tmp_path / "documents")
    (tmp_path / "documents" / "README.txt").write_text("These are my boxes.")
    layouts = open_layouts(str(tmp_path / "documents"), **how)
    assert (layouts.count, sum(layouts.drops.lost_pictures.values())) == (1, 1)
    coco = coco_folder(tmp_path / "coco")
    file = coco / "annotations" / "instances_val.json"
    data = json.loads(file.read_text())
    for entry in data["images"]:
        del entry["width"], entry["height"]
    data["annotations"].append(data["annotations"][0] | {"id": 99, "image_id": 6})
    file.rename(file.with_name("result.json")).write_text(json.dumps(data))
    (coco / "val" / "6.png").write_bytes(b"")
    (coco / "val").rename(coco / "images")
    layouts = open_layouts(str(file.with_name("result.json")), **how)
    assert [layout.name for layout in layouts.layouts()] == ["image-5"]
    assert layouts.drops.lost_pictures == {"a picture that cannot be read": 1}


def _document(folder):
    file = folder / "one.json"
    file.write_text('{"cat": [0.1, 0.1, 0.5, 0.5]}')
    return file


def test_the_readme_s_commands_have_options_that_exist():
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    calls = re.findall(r"^\$ lavallama evaluate grounding (.*)$", readme, re.MULTILINE)
    assert len(calls) == 3
    for call in calls:
        assert grounding_options().parse_args(shlex.split(call)).batch


def test_the_same_command_prints_the_same(world, monkeypatch, capsys):
    oracle = world[0]
    monkeypatch.setattr(Generator, "from_pretrained", lambda *_, **__: Painter(oracle))
    arguments = ("--scenes", 3, "--tasks", "instances,spatial", "--no-floor")
    assert results_of(capsys, *arguments) == results_of(capsys, *arguments)


def test_a_report_has_a_line_for_every_row_and_names_every_task():
    rates = {"objects": 3, "concept_top1": 0.5, "material_top1": 0.25}
    row = {
        "judge": {"held_out_pairs": rates, "all": rates},
        "extent": {"box_iou": 0.75, "pictures": 1},
        "ap": {"ap": 0.125, "ap50": 0.5, "ap75": 0.25, "instances": 4},
        "instances": {
            "all": {"pictures": 2, "instances": 4, "miou": 0.5, "success": 0.75, "whole": 0.0}
        },
        **{task: {"accuracy": 1.0, "prompts": 2} for task in PROMPTS},
        "fid": {"fid": 12.0, "pictures": 2},
    }
    assert {"judge", *row} - {"extent"} == set(TASKS)
    results = {"model": "m", "data": "d", "left_out": {"crowds": 2}, "gated": row, "floor": row}
    text = report(results, ["pictures/a.png"])
    assert "| with gates | 3 | 0.500 | 0.500 | 0.250 | 0.750 |" in text
    assert "| with gates | 4 | 0.125 | 0.500 | 0.250 |" in text
    assert "| with gates | all | 2 | 0.500 | 0.750 | 0.000 |" in text
    assert "| with gates | 2 | 1.000 | 1.000 | 1.000 | 1.000 |" in text
    assert "| with gates | 2 | 12.000 |" in text
    assert text.count("| with gates |") == text.count("| same base without gates |") == 5
    assert "![pictures/a.png](pictures/a.png)" in text
    assert "- 2 crowds" in text
    assert f"| {LABELS['true']} |" not in text
