"""What we write as COCO is what COCO's own evaluation reads."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from grounding.formats import join_coco, load, write_coco
from grounding.masks import bitmap_to_rle
from grounding.prompt import Canvas, GroundedPrompt, Keypoint, Region

TRIANGLE = ((0.1, 0.2), (0.6, 0.2), (0.1, 1.0))


def document(*regions):
    return GroundedPrompt(
        canvas=Canvas(width=100, height=50), image="a.png", regions=tuple(regions)
    )


def bitmap(filled=True):
    mask = np.zeros((50, 100), bool)
    mask[10:30, 20:60] = filled
    return bitmap_to_rle(mask)


@pytest.mark.parametrize(
    ("region", "box", "area"),
    [
        (Region(phrase="a", polygon=(TRIANGLE,)), [10, 10, 50, 40], 1000),
        (Region(phrase="a", polygon=(TRIANGLE,), box=(0, 0, 1, 1)), [0, 0, 100, 50], 1000),
        (Region(phrase="a", polygon=(TRIANGLE, TRIANGLE)), [10, 10, 50, 40], 1000),
        (Region(phrase="a", mask=bitmap()), [20, 10, 40, 20], 800),
        (Region(phrase="a", box=(0, 0, 0.5, 1)), [0, 0, 50, 50], 2500),
        (Region(phrase="a", keypoints=(Keypoint(xy=(0.1, 0.2)), Keypoint(xy=(0.3, 0.4)))),
         [10, 10, 20, 10], 200),
    ],
)  # fmt: skip
def test_every_annotation_has_a_box_and_an_area(region, box, area):
    [annotation] = write_coco(document(region)).content["annotations"]
    assert annotation["bbox"] == pytest.approx(box)
    assert annotation["area"] == pytest.approx(area, rel=0.05)


@pytest.mark.parametrize("region", [Region(phrase="b", mask=bitmap(False)), Region(phrase="b")])
def test_what_covers_nothing_is_left_out_and_said(region):
    content, dropped = write_coco(document(Region(phrase="a", box=(0, 0, 1, 1)), region))
    assert [one["name"] for one in content["categories"]] == ["a"]
    assert "regions[1], which covers nothing" in dropped
    assert len(load(content).regions) == 1


def test_categories_of_one_vocabulary_have_the_same_ids_in_all_files():
    names = ("dog", "llama")
    first, second = (
        write_coco(document(Region(phrase=name, box=(0, 0, 1, 1))), names=names).content
        for name in ("llama", "dog")
    )
    assert first["categories"] == second["categories"]
    assert first["annotations"][0]["category_id"] == 2


def test_joined_files_are_evaluated_by_coco_itself(tmp_path, capsys):
    files = [
        write_coco(document(Region(phrase="llama", polygon=(TRIANGLE,)))).content,
        write_coco(
            document(Region(phrase="dog", mask=bitmap()), Region(phrase="llama", mask=bitmap()))
        ).content,
    ]
    joined = join_coco(files)
    assert [one["id"] for one in joined["annotations"]] == [1, 2, 3]
    assert [one["image_id"] for one in joined["annotations"]] == [1, 2, 2]
    assert [one["category_id"] for one in joined["annotations"]] == [1, 2, 1]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(joined))
    truth = COCO(str(path))
    found = [
        {key: one[key] for key in ("image_id", "category_id", "segmentation", "bbox")}
        | {"score": 1}
        for one in joined["annotations"]
    ]
    for kind in ("bbox", "segm"):
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1)
    capsys.readouterr()
