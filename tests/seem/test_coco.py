import json
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from grounding.errors import LavallamaError
from seem.coco import (
    instance_results,
    panoptic_entry,
    panoptic_png,
    read_panoptic_png,
    write_panoptic,
)
from tests.seem.test_results import IDS, INSTANCES, PANOPTIC

CATEGORIES = (18, 90, 200)


def entry(name="7.png"):
    return panoptic_entry(PANOPTIC, image_id=7, file_name=name, category_ids=CATEGORIES)


def test_instances_are_read_by_pycocotools():
    results = instance_results(INSTANCES, image_id=7, category_ids=CATEGORIES)
    assert [r["category_id"] for r in results] == [18, 200, 90]
    assert [r["bbox"] for r in results] == [[0, 0, 2, 2], [0, 0, 4, 2], [0, 0, 0, 0]]
    assert {r["image_id"] for r in results} == {7}
    masks = [coco_mask.decode(r["segmentation"]) for r in results]
    assert np.array_equal(np.stack(masks), INSTANCES.masks.numpy())
    assert json.loads(json.dumps(results)) == results


def test_what_was_found_scores_full_against_itself(capsys):
    """COCO's own evaluation accepts the entries, and finds nothing wrong with them."""
    results = instance_results(INSTANCES, image_id=7, category_ids=CATEGORIES)[:2]
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": 7, "height": 2, "width": 4}],
        "categories": [{"id": number} for number in CATEGORIES],
        "annotations": [
            {**r, "id": i, "iscrowd": 0, "area": int(coco_mask.area(r["segmentation"]))}
            for i, r in enumerate(results, 1)
        ],
    }
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(results), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()
    assert evaluation.stats[0] == pytest.approx(1)


def test_segments_are_described():
    written = entry()
    assert np.array_equal(read_panoptic_png(written.png), IDS.numpy())
    assert written.annotation["segments_info"] == [
        {"id": 1, "category_id": 18, "area": 3, "bbox": [0, 0, 2, 2], "iscrowd": 0},
        {"id": 2, "category_id": 90, "area": 2, "bbox": [3, 0, 1, 2], "iscrowd": 0},
        {"id": 3, "category_id": 18, "area": 2, "bbox": [1, 1, 2, 1], "iscrowd": 0},
    ]


@given(
    arrays(
        np.int32,
        array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.integers(0, 2**24 - 1),
    )
)
def test_ids_survive_as_colours(ids):
    assert np.array_equal(read_panoptic_png(panoptic_png(ids)), ids)


def test_colours_are_little_endian():
    with Image.open(BytesIO(panoptic_png(np.array([[1 + 2 * 256 + 3 * 65536]])))) as image:
        assert image.getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize("number", [-1, 2**24])
def test_ids_that_no_colour_stands_for_are_refused(number):
    with pytest.raises(LavallamaError, match="0 to 16777215"):
        panoptic_png(np.array([[number]]))


def test_other_files_are_no_panoptic_maps():
    with pytest.raises(LavallamaError, match="this is none"):
        read_panoptic_png(b"llama")
    for kind, mode, said in (
        ("PNG", "L", r"maps/a.png: .*grey \(L\)"),
        ("PNG", "P", r"a palette \(P\)"),
        ("PNG", "RGBA", r"transparency \(RGBA\)"),
        ("PNG", "I;16", r"grey \(L\)"),
        ("JPEG", "RGB", r"maps/a.png: .*JPEG"),
    ):
        file = BytesIO()
        Image.new(mode, (2, 2)).save(file, kind)
        with pytest.raises(LavallamaError, match=said):
            read_panoptic_png(file.getvalue(), "maps/a.png")


def test_files_lie_where_evaluators_look(tmp_path):
    write_panoptic(tmp_path / "out" / "pan.json", [entry("7.png"), entry("8.png")])
    content = json.loads((tmp_path / "out" / "pan.json").read_text())
    for annotation in content["annotations"]:
        data = (tmp_path / "out" / "pan" / annotation["file_name"]).read_bytes()
        assert np.array_equal(read_panoptic_png(data), IDS.numpy())
    assert len(content["annotations"]) == 2


@pytest.mark.parametrize("names", [("a.png", "a.png"), ("../a.png",), ("/tmp/a.png",)])
def test_file_names_that_collide_or_wander_are_refused(tmp_path, names):
    with pytest.raises(LavallamaError, match="a file name of its own"):
        write_panoptic(tmp_path / "pan.json", [entry(name) for name in names])
    assert not list(tmp_path.iterdir())


def test_the_list_is_a_json_file(tmp_path):
    with pytest.raises(LavallamaError, match=r"go to a \.json file"):
        write_panoptic(tmp_path / "pan", [entry()])


def test_every_class_needs_a_category():
    with pytest.raises(LavallamaError, match="1 ids"):
        instance_results(INSTANCES, image_id=1, category_ids=CATEGORIES[:1])
    with pytest.raises(LavallamaError, match="1 ids"):
        panoptic_entry(PANOPTIC, image_id=1, file_name="1.png", category_ids=CATEGORIES[:1])
