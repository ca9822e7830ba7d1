"""COCO's objects as subjects of questions, as other tools write them."""

import json

import pytest
from PIL import Image

from grounding.drops import Drops
from grounding.errors import PromptError
from pipelines.evaluate.chat_coco import coco_subjects


def written(folder, *annotations, **image):
    Image.new("RGB", (40, 20)).save(folder / "a.png")
    path = folder / "instances.json"
    content = {
        "images": [{"id": "1", "file_name": "a.png", **image}],
        "categories": [
            {"id": 0, "name": "animal", "supercategory": "none"},
            {"id": 1, "name": "llama", "supercategory": "animal"},
        ],
        "annotations": list(annotations),
    }
    path.write_text(json.dumps(content))
    return path


def test_what_makes_no_sense_costs_itself_and_is_counted(tmp_path):
    path = written(
        tmp_path,
        {"image_id": 1, "category_id": "1", "bbox": [-4, 0, 24, 10]},
        {"image_id": 1, "category_id": 1, "bbox": [99, 0, 1, 1]},
        {"image_id": 1, "category_id": 7, "bbox": [0, 0, 1, 1]},
        {"image_id": 2, "category_id": 1, "bbox": [0, 0, 1, 1]},
    )
    drops = Drops()
    [subject], classes = coco_subjects(path, drops=drops)
    assert classes == ("llama",)
    assert [thing.box for thing in subject.things] == [(0, 0, 0.5, 0.5), None]
    assert subject.picture().size == (40, 20)
    assert drops.count == 4


def test_a_broken_picture_whose_size_is_not_told_costs_itself(tmp_path):
    path = written(
        tmp_path, *({"image_id": i, "category_id": 1, "bbox": [0, 0, 9, 9]} for i in "12")
    )
    data = json.loads(path.read_text())
    data["images"].append({"id": 2, "file_name": "b.png", "width": None, "height": None})
    path.write_text(json.dumps(data))
    (tmp_path / "b.png").touch()
    drops = Drops()
    assert [subject.name for subject in coco_subjects(path, drops=drops)[0]] == ["a.png"]
    assert drops.lost_pictures == {"a picture that cannot be read": 1}


def test_a_picture_of_another_shape_is_refused_by_its_name(tmp_path):
    path = written(
        tmp_path, {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}, width=20, height=40
    )
    [subject], _ = coco_subjects(path)
    with pytest.raises(PromptError, match=r"a.png: is of another shape .* 20x40 pixels, got 40x20"):
        subject.picture()
