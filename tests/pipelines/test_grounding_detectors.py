"""SEEM as a detector and as the judge's eyes, and detectors by name."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gligen.evaluation.instance_success import InstanceSuccess
from gligen.evaluation.sticker_layouts import held_out_layouts
from grounding.errors import LavallamaError
from grounding.stickers import PRESETS
from grounding.stickers.judge import StickerJudge
from pipelines.evaluate import grounding_detectors
from pipelines.evaluate.grounding_detectors import (
    SegmenterDetector,
    object_proposals,
    open_detector,
)
from pipelines.evaluate.grounding_options import EMBEDDED_JUDGE
from seem.vocabulary import Vocabulary
from tests.seem.predicting import picture, tiny_predictor

WORDS = Vocabulary(things=("dog", "cat"), stuff=("tree",))


@pytest.fixture
def opened(monkeypatch):
    """The names that SEEMs were opened by; all are the tiny one."""
    names = []

    def open_predictor(name, **_):
        names.append(name)
        return tiny_predictor(vocabulary=WORDS)

    monkeypatch.setattr(grounding_detectors, "open_predictor", open_predictor)
    return names


@pytest.fixture
def judge(tmp_path):
    torch.manual_seed(0)
    StickerJudge(["dog", "cat"], ["ice"]).save_pretrained(tmp_path)
    return tmp_path


def on_the_picture(boxes):
    return all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for x0, y0, x1, y1 in boxes)


def test_a_segmenter_finds_boxes_around_its_masks():
    detector = SegmenterDetector(tiny_predictor(), name="tiny")
    view, other = detector.view(picture()), detector.view(picture(1))
    found = view.find(["dog", "cat"])
    assert found
    assert {d.text for d in found} <= {"dog", "cat"}
    assert on_the_picture([d.box for d in found])
    alone = view.find(["dog"])
    assert {d.text for d in alone} <= {"dog"}
    assert other.find(["dog"]) != alone
    assert view.find(["dog"]) == alone, "views do not disturb each other"
    assert detector.knows("anything")
    assert not detector.knows(" ")
    assert view.attribute((0.0, 0.0, 1.0, 1.0), "dog", ("ice", "lava")) in (None, "ice", "lava")


def test_proposals_are_what_any_thing_of_the_vocabulary_claims():
    predictor = tiny_predictor(vocabulary=WORDS)
    image = picture()
    proposals = object_proposals(predictor, image)
    assert proposals
    assert on_the_picture([box for box, _ in proposals])
    assert all(0 < certainty <= 1 for _, certainty in proposals)
    predictor.set_image(image)
    told = predictor.instances()
    query = int(told.queries[0])
    claimed = float(told.scores[told.queries == query].sum())
    assert any(np.isclose(certainty, min(1, claimed)) for _, certainty in proposals)


def test_detectors_by_name(opened, judge):
    named = open_detector("judge", judge=judge)
    assert (named.name, named.tells_attributes) == ("judge", True)
    assert named.knows("dog")
    assert not named.knows("tree")
    found = named.view(picture()).find(["dog", "cat"])
    assert found
    assert all(0 <= d.score <= 1 for d in found)
    assert open_detector("seem", judge=judge, threshold=0.25).threshold == 0.25
    assert open_detector("seem:seem-focalt", judge=judge).name == "seem:seem-focalt"
    assert opened == ["stickers", "stickers", "seem-focalt"]


def test_names_of_nothing_are_one_line(judge, tmp_path):
    for name in ("nobody/nothing", "seem:/none/such"):
        with pytest.raises(LavallamaError) as caught:
            open_detector(name, judge=judge, offline=True)
        assert "\n" not in str(caught.value)
    with pytest.raises(LavallamaError, match="not a judge"):
        open_detector("judge", judge=tmp_path / "none")


def test_the_embedded_judge_finds_most_of_what_is_rendered():
    layouts = list(held_out_layouts(PRESETS["small"], 6).layouts())
    detector = open_detector("judge", judge=EMBEDDED_JUDGE, device="cpu", offline=True)
    success = InstanceSuccess(PRESETS["small"].materials)
    for layout in layouts:
        success.add(layout.instances, detector.view(layout.truth()), detector)
    assert success.result()["all"]["success"] > 0.6


def test_a_detector_of_the_hub_comes_through_its_one_door(loopback_hub, tmp_path, monkeypatch):
    files = {"config.json": b"{}", "preprocessor_config.json": b"{}", "model.safetensors": b"w"}
    loopback_hub.put("someone/detector", {**files, "pytorch_model.bin": b"w", "README.md": b"x"})
    asked = []

    def load(source, **options):
        asked.append((source, options))

    monkeypatch.setattr(grounding_detectors, "load_detector", load)
    for name in ("someone/detector", f"{loopback_hub.url}/someone/detector"):
        open_detector(name, judge=tmp_path, device="cpu")
    (folder, options), (again, _) = asked
    assert folder == again
    assert {path.name for path in Path(folder).iterdir()} == set(files)
    assert options["name"] == "someone/detector"
