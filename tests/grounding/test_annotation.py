"""Annotations as other tools write them: a part that makes no sense costs itself alone."""

import base64
import io
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from grounding import formats
from grounding.errors import PromptError
from grounding.formats.annotation import clip_ring, identify, image_size, index_by_id, same_shape
from grounding.formats.remarks import Remarks
from grounding.masks import bitmap_to_rle, rle_to_bitmap

SIZE = {"width": 100, "height": 50}
WHOLE = {"id": 9, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20]}
RING = [20, 10, 40, 10, 40, 30]
AROUND = (0.2, 0.2, 0.4, 0.6)  # the ring's box


def coco(*annotations, image=SIZE, **category):
    return {
        "images": [{"id": 1, "file_name": "a.png", **image}],
        "categories": [{"id": 1, "name": "llama", **category}],
        "annotations": [{"id": n, "image_id": 1, "category_id": 1, **annotation}
                        for n, annotation in enumerate(annotations, 1)],
    }  # fmt: skip


def read(data, **options):
    remarks = Remarks()
    return formats.load(data, remarks=remarks, **options), remarks


@pytest.mark.parametrize(
    "useless",
    [
        {"attributes": None},
        {"attributes": {"occluded": None}},
        {"iscrowd": "0"},
        {"iscrowd": None},
        {"segmentation": []},
        {"segmentation": None},
        {"keypoints": []},
        {"keypoints": [-1, -1, 0, 0, 0, 0]},
        {"area": "many", "score": None},
        {"image_id": "1"},
        {"category_id": "1"},
        {"category_id": 1.0},
        {"bbox": ["10", "10", 20, 20]},
    ],
)
def test_what_does_not_matter_costs_nothing(useless):
    prompt, remarks = read(coco({"bbox": [10, 10, 20, 20], **useless}))
    [region] = prompt.regions
    assert region.box == pytest.approx((0.1, 0.2, 0.3, 0.6))
    assert region.phrase == "llama"
    assert "iscrowd" not in region.attributes
    assert remarks == Remarks()


@pytest.mark.parametrize(
    ("annotation", "box", "reason"),
    [
        ({"bbox": [-1, 10, 31, 20]}, (0, 0.2, 0.3, 0.6), "a box clipped to its picture"),
        ({"bbox": [90, 40, 30, 30]}, (0.9, 0.8, 1, 1), "a box clipped to its picture"),
        ({"bbox": [0, 0, 0, 9], "segmentation": [RING]}, AROUND, "a box taken from its outline"),
        ({"bbox": [1, 2], "segmentation": [RING]}, AROUND, "a box taken from its outline"),
        ({"segmentation": [RING, [48, 30]]}, AROUND, "a part of an outline left out"),
        ({"segmentation": [RING, [4, 8, 9, 9]]}, AROUND, "a part of an outline left out"),
        ({"segmentation": RING}, AROUND, "an outline without its inner list"),
        ({"segmentation": [[-5, 10, 40, 10, 40, 30]]}, (0, 0.2, 0.4, 0.6), "an outline clipped"),
        ({"bbox": [10, 10, 20, 20], "score": 97.3}, (0.1, 0.2, 0.3, 0.6), "a score that is not"),
        ({"bbox": [10, 10, 20, 20], "segmentation": [[4, 8]]}, (0.1, 0.2, 0.3, 0.6), "a part of"),
        (
            {"bbox": [10, 10, 20, 20], "keypoints": [1, 1, 3]},
            (0.1, 0.2, 0.3, 0.6),
            "joints left out",
        ),
    ],
)
def test_what_is_left_of_an_annotation_is_kept_and_noted(annotation, box, reason):
    prompt, remarks = read(coco(annotation, WHOLE))
    assert len(prompt.regions) == 2
    assert prompt.regions[0].box == pytest.approx(box)
    assert remarks.lost == []
    [(said, place)] = remarks.changed
    assert said.startswith(reason)
    assert place.startswith("annotations[0]")


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ({"bbox": [200, 10, 20, 20]}, "lies outside the canvas of 100x50"),
        ({"bbox": [10, 10, 0, 0]}, "the width must be above 0"),
        ({"bbox": []}, "neither a box nor an outline"),
        ({"bbox": None, "segmentation": [[3, 4]]}, "3 points or more"),
        ({"bbox": [1, 2, float("nan"), 4]}, "expected a number, got NaN"),
        ({"bbox": [10, 10, 20, 20], "category_id": 7}, "no category has the id 7"),
        ({"bbox": [10, 10, 20, 20], "image_id": 7}, r"image_id: 7"),
        ({"bbox": [10, 10, 20, 20], "image_id": "other"}, r"image_id: \"other\""),
        ({"segmentation": {"size": [50, 50], "counts": [2500]}}, "do not fit the picture"),
    ],
)
def test_an_annotation_that_makes_no_sense_costs_itself(annotation, words, caplog):
    prompt, remarks = read(coco(annotation, WHOLE))
    assert [region.box for region in prompt.regions] == [pytest.approx((0.1, 0.2, 0.3, 0.6))]
    [(_, place)] = remarks.lost
    with pytest.raises(PromptError, match=words):
        raise PromptError(place)
    with caplog.at_level(logging.WARNING):
        formats.load(coco(annotation, WHOLE))  # says so, if nobody else does
    assert place in caplog.text
    with pytest.raises(PromptError, match=words):
        formats.load(coco(annotation, WHOLE), strict=True)
    with pytest.raises(PromptError):
        formats.load(coco(annotation))  # nothing is left


@pytest.mark.parametrize("size", [{}, {"width": None, "height": None}, {"width": "wide"}])
def test_a_size_that_is_missing_is_taken_from_elsewhere(size):
    prompt, _ = read(coco(WHOLE, image=size), canvas=(100, 50))
    assert prompt.regions[0].box == pytest.approx((0.1, 0.2, 0.3, 0.6))
    assert image_size({"width": "100", "height": 50.0}) == (100, 50)


def test_a_mask_without_a_box_has_one():
    bitmap = np.zeros((50, 100), bool)
    bitmap[10:30, 20:40] = True
    for compressed in (True, False):
        rle = bitmap_to_rle(bitmap, compressed=compressed)
        counts = rle.counts if compressed else list(rle.counts)
        segmentation = {"size": [50, 100], "counts": counts}
        prompt, remarks = read(coco({"segmentation": segmentation}))
        assert prompt.regions[0].box == (0.2, 0.2, 0.4, 0.6)
        assert remarks == Remarks()


def test_ids_are_compared_by_what_they_say():
    assert identify("12", "") == identify(12.0, "") == 12
    assert identify("007", "") == "007"
    assert identify("a-uuid", "") == "a-uuid"
    for wrong in (None, True, 1.5, [], " "):
        with pytest.raises(PromptError, match="expected an id"):
            identify(wrong, "here")
    prompt, remarks = read(coco(WHOLE, WHOLE))
    assert [region.id for region in prompt.regions] == ["9", "r2"]
    assert len(remarks.changed) == 1


def test_shapes_agree_within_rounding():
    assert same_shape((160, 96), (80, 48))
    assert same_shape((1000, 333), (300, 100))
    assert not same_shape((160, 96), (96, 160))


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=3, max_size=8))
def test_a_clipped_ring_lies_inside(ring):
    assert all(0 <= value <= 1 for xy in clip_ring(ring) for value in xy)


def test_clipping_keeps_the_part_inside():
    inside = [(0.2, 0.2), (0.8, 0.2), (0.5, 0.9)]
    assert clip_ring(inside) == inside
    assert clip_ring([(2, 2), (3, 2), (3, 3)]) == []
    half = clip_ring([(-0.5, 0.25), (0.5, 0.25), (0.5, 0.75), (-0.5, 0.75)])
    assert sorted(half) == [(0, 0.25), (0, 0.75), (0.5, 0.25), (0.5, 0.75)]


def png_text(bitmap):
    file = io.BytesIO()
    Image.fromarray(bitmap).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def labelme(*shapes, **more):
    fixed = {"label": "llama", "group_id": None, "flags": {}}
    return {"shapes": [{**fixed, **shape} for shape in shapes],
            "imageWidth": 100, "imageHeight": 50, "imagePath": "a.png", **more}  # fmt: skip


BOX_SHAPE = {"shape_type": "rectangle", "points": [[10, 10], [30, 30]]}


def test_labelme_masks_and_turned_rectangles_are_read():
    """What LabelMe's own tools (wkentaro/labelme#1560) and X-AnyLabeling write."""
    bitmap = np.zeros((21, 21), bool)
    bitmap[5:, :] = True
    corners = [[50, 10], [60, 20], [50, 30], [40, 20]]
    prompt, remarks = read(
        labelme(
            {"shape_type": "mask", "points": [[10, 10], [30, 30]], "mask": png_text(bitmap)},
            {"shape_type": "mask", "points": [[90, 40], [110, 60]], "mask": png_text(bitmap)},
            {"shape_type": "rotation", "points": corners, "direction": 0.78},
            {"shape_type": "rectangle", "points": [[10, 10], [30, 10], [30, 30], [10, 30]]},
        )
    )
    mask, cut, turned, four = prompt.regions
    assert mask.mask is not None
    assert rle_to_bitmap(mask.mask)[15:31, 10:31].all()
    assert sum(mask.mask.runs()[1::2]) == bitmap.sum()
    assert mask.box == (0.1, 0.3, 0.31, 0.62)
    assert cut.box == (0.9, 0.9, 1, 1)
    assert turned.bounds() == (0.4, 0.2, 0.6, 0.6)
    assert four.box == (0.1, 0.2, 0.3, 0.6)
    assert remarks == Remarks()


@pytest.mark.parametrize(
    "shape",
    [
        {"shape_type": "polygon", "points": [[1, 1], [2, 2]]},
        {"shape_type": "rectangle", "points": [[5, 5], [5, 5]]},
        {"shape_type": "rectangle", "points": [[500, 5], [600, 50]]},
        {"shape_type": "cuboid", "points": [[1, 1], [2, 2]]},
        {"shape_type": "mask", "points": [[1, 1], [2, 2]], "mask": "no base64"},
        {"shape_type": "rectangle", "points": [[1, 1], [2]]},
        {"label": None, "points": [[1, 1], [2, 2]]},
    ],
)
def test_a_shape_that_makes_no_sense_costs_itself(shape):
    prompt, remarks = read(labelme(shape, BOX_SHAPE))
    assert [region.box for region in prompt.regions] == [(0.1, 0.2, 0.3, 0.6)]
    assert [reason for reason, _ in remarks.lost] == ["a shape that makes no sense"]


def test_shapes_that_stick_out_are_clipped():
    prompt, remarks = read(
        labelme(
            {"points": [[-0.6, 10], [40, 10], [40, 30]]},
            {"shape_type": "rectangle", "points": [[-1, 10], [30, 30]]},
            {"shape_type": "point", "points": [[101, 10]]},
        )
    )
    outline, box, point = prompt.regions
    assert outline.bounds() == pytest.approx((0, 0.2, 0.4, 0.6))
    assert box.box == pytest.approx((0, 0.2, 0.3, 0.6))
    assert point.points[0].xy == (1, 0.2)
    assert len(remarks.changed) == 3
    assert remarks.lost == []


@pytest.mark.parametrize("size", ["100", 100.0, None])
def test_labelme_sizes(size):
    data = labelme(BOX_SHAPE, imageWidth=size, imageHeight=size and 50)
    assert read(data, canvas=(100, 50))[0].regions[0].box == (0.1, 0.2, 0.3, 0.6)


def test_a_region_of_a_document_costs_itself_where_that_is_asked_for():
    data = {"prompt": "p", "regions": [{"phrase": "a", "scor": 1}, {"phrase": "b"}]}
    prompt, remarks = read(data)
    assert [region.phrase for region in prompt.regions] == ["b"]
    assert "regions[0].scor: unknown field" in remarks.lost[0][1]
    with pytest.raises(PromptError, match="did you mean"):
        formats.load(data)  # who typed it wants to know


ROW = {"bbox": [1, 2, 3, 4], "id": "a", "desc": "b"}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}], "results file"),
        ({"image": {}, "annotations": [{"predicted_iou": 0.9, "bbox": [1, 2, 3, 4]}]}, "SA-1B"),
        ({"images": [], "annotations": [{"segments_info": []}]}, "COCO panoptic"),
        ({"high_level_description": "a"}, "Ideogram 4"),
        ({"compositional_deconstruction": {"elements": []}}, "Ideogram 4"),
        ([ROW], "FLUX 3"),
        ([{"x": 1, "y": 2, "width": 3, "height": 4, "metadata": {}}], "ComfyUI"),
        ({"caption": "a", "bbox_format": {"type": "abs_centralized", "order": "yxyx"}}, "MOSS"),
        ({"bbox_type": "abs_centralized", "caption": "a"}, "MOSS"),
        ([{"id": "1", "conversations": []}], "LLaVA records"),
        ([{"annotations": [{"result": []}], "data": {}}], "Label Studio"),
    ],
)
def test_files_of_other_kinds_are_called_by_their_names(data, kind):
    with pytest.raises(PromptError, match=kind):
        formats.load(data)


def test_gligens_box_of_nothing_is_none(caplog):
    data = {"prompt": "a", "phrases": ["a", "a"], "locations": [[0.4, 0.2, 1, 0.8], [0, 1, 0, 1]]}
    with caplog.at_level(logging.WARNING):
        prompt = formats.load(data)
    assert [region.box for region in prompt.regions] == [(0.4, 0.2, 1, 0.8)]
    assert "locations[1]" in caplog.text


def test_a_box_of_width_and_height_is_recognised():
    with pytest.raises(PromptError, match=r"\[0.6, 0.6, 0.9, 0.9\].*\[x0, y0, x1, y1\]"):
        formats.load([{"phrase": "llama", "box": [0.6, 0.6, 0.3, 0.3]}])


def test_an_entry_that_makes_no_sense_costs_itself():
    image, remarks = {"id": 1, "file_name": "a.png"}, Remarks()
    data = {"images": [image, None, {"file_name": "b.png"}, dict(image)]}
    assert index_by_id(data, "images", remarks) == {1: image}
    assert [detail for _, detail in remarks.lost] == [
        "images[1]: expected an object {...}, got null",
        "images[2].id: is missing; add it",
    ]
    with pytest.raises(PromptError, match=r"images\[1\]"):
        index_by_id(data, "images")
    data["images"].append({"id": "1", "file_name": "other.png"})
    with pytest.raises(PromptError, match="1 appears twice"):
        index_by_id(data, "images", remarks)
