"""The SEEM that ships: its size, and that it finds what is pointed at on scenes it never saw."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from grounding.stickers import PRESETS, render
from pipelines.segment import main as segment
from pipelines.segmentation.segmenter import open_predictor
from seem.clicks import deepest_pixel
from weights.registry import embedded

PICTURE = Path(__file__).parents[2] / "examples" / "lava_llama.png"
FOLDER = embedded("seem")
LIMIT = 35 * 2**20  # bytes
SCENES = 8


@pytest.fixture(scope="module")
def predictor():
    return open_predictor("stickers", device="cpu", offline=True)


@pytest.fixture(scope="module")
def scenes():
    world = PRESETS["crowd"]
    return [world.scene(seed, "held-out", count=2) for seed in range(SCENES)]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_it_is_small():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < LIMIT


def test_its_card_says_what_was_measured_and_where_it_ends():
    card = (FOLDER / "README.md").read_text("utf-8")
    assert "lavallama evaluate segmentation" in card
    assert "## Limits" in card


def test_clicks_and_boxes_find_objects_on_new_scenes(predictor, scenes):
    clicked, boxed = [], []
    for scene in scenes:
        drawn = render(scene)
        predictor.set_image(drawn.image)
        for mask in drawn.masks:
            y, x = deepest_pixel(mask)
            clicked.append(iou(predictor.predict(points=[[x, y]]).masks[0].numpy(), mask))
            ys, xs = np.nonzero(mask)
            box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            boxed.append(iou(predictor.predict(box=box).masks[0].numpy(), mask))
    assert np.mean(clicked) > 0.9
    assert np.mean(boxed) > 0.9


def test_words_find_one_thing_once_however_they_are_written():
    predictor = open_predictor("embedded", device="cpu", offline=True)
    predictor.set_image(Image.open(PICTURE).convert("RGB"))  # enlarged: the words tell what it is
    [plain] = predictor.find(["lava llama"])
    assert len(plain.masks) == 1
    assert plain.scores.min() >= 0.5
    for written in ("lava llama.", "Lava  Llama"):
        [found] = predictor.find([written])
        assert torch.equal(found.masks, plain.masks)


def test_the_picture_says_which_model_is_asked(tmp_path, capsys):
    asked = [str(PICTURE), "--device", "cpu", "--offline", "--out", str(tmp_path)]
    assert segment(["--text", "lava llama", *asked]) == 0
    assert "model: stickers" in capsys.readouterr().out
    assert segment(["--point", "200,200", *asked]) == 0
    assert "model: photographs" in capsys.readouterr().out
    document = json.loads((tmp_path / "lava_llama.json").read_text())
    assert document["provenance"]["model"] == "photographs"
    assert segment(["--point", "200,200", "--model", "stickers", *asked]) == 0
    assert "model:" not in capsys.readouterr().out


def test_it_names_what_it_sees_on_new_scenes(predictor, scenes):
    names, right, objects = predictor.vocabulary.names, 0, 0
    for scene in scenes:
        drawn = render(scene)
        predictor.set_image(drawn.image)
        found = predictor.panoptic()
        for sticker, mask in zip(scene.stickers, drawn.masks, strict=True):
            label = names.index(sticker.concept)
            objects += 1
            right += any(
                segment.label == label and iou(found.map.numpy() == segment.id, mask) > 0.5
                for segment in found.segments
            )
    assert right > 0.7 * objects


def test_it_knows_the_backgrounds_of_its_world(predictor, scenes):
    names = predictor.vocabulary.names
    right = 0
    for scene in scenes:
        predictor.set_image(render(scene).image)
        label = predictor.semantic()[0, 0]
        right += names[label] == scene.background
    assert right >= SCENES - 2
