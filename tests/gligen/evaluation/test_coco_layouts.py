"""COCO's annotations as requests: the middle square, what is left out, broken files."""

import numpy as np
import pytest

from gligen.evaluation.coco_layouts import coco_captions, coco_layouts
from grounding.drops import Drops
from grounding.errors import PromptError

WIDE = {"id": 7, "file_name": "wide.jpg", "width": 200, "height": 100}  # the square: x from 50
TALL = {"id": 3, "file_name": "tall.jpg", "width": 100, "height": 100}
CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}]


def box(image, category, xywh, **more):
    return {"image_id": image, "category_id": category, "bbox": xywh, **more}


def data(*annotations, images=(WIDE, TALL)):
    return {"images": list(images), "categories": CATEGORIES, "annotations": list(annotations)}


def test_boxes_are_those_of_the_middle_square_in_the_order_of_their_size():
    layouts = coco_layouts(
        data(box(7, 18, [60, 10, 30, 20]), box(7, 3, [0, 50, 100, 50])), captions={7: "a dog"}
    )
    [layout] = layouts.layouts()
    assert [i.noun for i in layout.instances] == ["car", "dog"]
    assert layout.instances[0].box == pytest.approx((0, 0.5, 0.5, 1))
    assert layout.instances[1].box == pytest.approx((0.1, 0.1, 0.4, 0.3))
    assert layout.document.prompt == "a dog"
    assert layout.document.sampling.seed == 7
    assert layout.document.canvas is None, "the model draws at its own size"
    assert (layouts.classes, layouts.closed, layouts.count) == (("dog", "car"), True, 1)


def test_what_is_small_or_a_crowd_is_ignored_and_counted():
    layouts = coco_layouts(
        data(
            box(3, 18, [0, 0, 50, 50]),
            box(3, 18, [0, 0, 9, 9]),
            box(3, 3, [0, 0, 90, 90], iscrowd=1),
            box(7, 3, [0, 0, 40, 90]),
        )
    )
    [layout] = layouts.layouts()
    assert [i.noun for i in layout.instances] == ["dog"]
    assert [i.noun for i in layout.ignored] == ["dog", "car"]
    assert layouts.left_out == {"crowds": 1, "boxes under 1% of the picture": 1}


def test_of_more_than_thirty_the_largest_are_asked_for():
    boxes = [box(3, 18, [0, 0, 60 + i, 60]) for i in range(32)]
    layouts = coco_layouts(data(*boxes))
    [layout] = layouts.layouts()
    assert len(layout.instances) == 30
    assert min(i.box[2] for i in layout.instances) == pytest.approx(0.62)
    assert len(layout.ignored) == 2
    assert layouts.left_out == {"boxes beyond the 30 largest": 2}


def test_without_a_caption_the_classes_are_the_prompt():
    boxes = [box(3, 18, [0, 0, 50, 50]), box(3, 3, [0, 0, 40, 50]), box(3, 18, [0, 0, 30, 50])]
    [layout] = coco_layouts(data(*boxes)).layouts()
    assert layout.document.prompt == "a dog and a car"


def test_the_true_picture_is_the_middle_square():
    pixels = np.arange(200 * 100 * 3, dtype=np.uint32).reshape(100, 200, 3).astype(np.uint8)
    boxes = data(box(7, 18, [60, 10, 30, 20]))
    [layout] = coco_layouts(boxes, read_image={"wide.jpg": pixels}.__getitem__).layouts()
    assert np.array_equal(layout.truth(), pixels[:, 50:150])
    with pytest.raises(PromptError, match=r"expected 200x100 pixels.*got 100x200"):
        coco_layouts(boxes, read_image=lambda _: pixels.transpose(1, 0, 2))  # nothing is left


def test_an_image_that_cannot_be_read_is_dropped_and_named():
    def read(name):
        if name == "wide.jpg":
            raise PromptError("wide.jpg: is cut off")
        return np.zeros((100, 100, 3), np.uint8)

    boxes = data(box(7, 18, [60, 10, 30, 20]), box(3, 18, [0, 0, 50, 50]))
    drops = Drops()
    layouts = coco_layouts(boxes, read_image=read, limit=1, drops=drops)
    assert [layout.name for layout in layouts.layouts()] == ["image-3"]
    both = coco_layouts(boxes, read_image=read, drops=drops)
    assert [layout.name for layout in both.layouts()] == ["image-3"]
    assert drops.named == {"a picture that cannot be read": ["wide.jpg: wide.jpg: is cut off"]}


def test_images_come_in_the_order_of_their_ids_up_to_the_limit():
    boxes = data(box(7, 18, [60, 10, 30, 20]), box(3, 18, [0, 0, 50, 50]))
    assert [x.name for x in coco_layouts(boxes).layouts()] == ["image-3", "image-7"]
    assert [x.name for x in coco_layouts(boxes, limit=1).layouts()] == ["image-3"]


def test_the_first_caption_of_an_image_counts():
    said = [{"image_id": 3, "caption": " a\n dog "}, {"image_id": 3, "caption": "cat"}]
    assert coco_captions({"annotations": said}) == {3: "a dog"}
    with pytest.raises(PromptError, match=r"annotations\[0\].caption"):
        coco_captions({"annotations": [{"image_id": 3}]})


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({}, "images: is missing"),
        (data(), "expected an image with a box"),
        (data(box(3, 18, [0, 0, 1, 1])), "2 images and none"),
        (data(box(9, 18, [0, 0, 50, 50])), r"annotations\[0\].image_id: 9"),
        (data(box(3, 9, [0, 0, 50, 50])), r"category_id: no category has the id 9"),
        (data(box(3, 18, [0, 0, 50])), r"annotations\[0\].bbox: expected 4 numbers"),
        (data(box(3, 18, [0, 0, float("nan"), 5])), "expected a number, got NaN"),
        (data({"image_id": 3, "category_id": 18}), "neither a box nor an outline"),
        (
            data(box(1, 18, [0, 0, 50, 50]), images=[{"id": 1, "file_name": "a"}]),
            "pixels need the size of their canvas",
        ),
        (data(box(7, 18, [0, 0, 50, 50]), images=[WIDE | {"width": 0}]), "need the size"),
        (data(images=[3]), r"images\[0\]: expected an object"),
    ],
)
def test_a_broken_file_is_named_in_one_line(broken, said):
    with pytest.raises(PromptError, match=said) as caught:
        coco_layouts(broken)
    assert "\n" not in str(caught.value)


def test_annotations_of_other_tools_are_read_leniently_and_counted():
    """Texts for ids, a box that sticks out, an outline alone, a size that the picture tells."""
    outline = {"image_id": 3, "category_id": 18, "segmentation": [[0, 0, 50, 0, 50, 50]]}
    boxes = data(
        {**box(3, 18, [-10, 0, 60, 50]), "image_id": "3", "category_id": "18"},
        outline,
        box(3, 18, [500, 0, 60, 50]),
        images=[{"id": 3, "file_name": "a.jpg", "width": None, "height": None}],
    )
    layouts = coco_layouts(boxes, read_size=lambda name: (100, 100))
    [layout] = layouts.layouts()
    assert [i.box for i in layout.instances] == [(0, 0, 0.5, 0.5)] * 2
    assert layouts.drops.counts() == {
        "an annotation that makes no sense": 1,
        "a box clipped to its picture": 1,
    }


def test_a_true_picture_of_another_size_and_the_same_shape_is_taken():
    boxes = data(box(7, 18, [60, 10, 30, 20]))
    small = np.zeros((50, 100, 3), np.uint8)
    [layout] = coco_layouts(boxes, read_image=lambda _: small).layouts()
    assert layout.truth().shape == (50, 50, 3)
