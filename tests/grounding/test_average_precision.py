"""COCO's numbers against cases that are computed by hand."""

import pytest

from grounding.average_precision import average_precision

IMAGES = [{"id": 1, "width": 100, "height": 100}, {"id": 2, "width": 100, "height": 100}]


def truth(number, box, image=1, category=1, crowd=0):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": crowd,
    }


def found(box, score, image=1, category=1):
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def precision(truths, results, categories=(1,)):
    return average_precision(IMAGES, truths, results, list(categories), kind="bbox")


FIRST, SECOND, ELSEWHERE = [0, 0, 20, 20], [50, 50, 20, 20], [75, 0, 20, 20]


def test_a_wrong_box_between_two_right_ones():
    truths = [truth(1, FIRST), truth(2, SECOND)]
    results = [found(FIRST, 0.9), found(ELSEWHERE, 0.8), found(SECOND, 0.7)]
    # Precision is 1 up to a recall of 0.5, 51 of COCO's 101 points, and 2/3 on the other 50.
    by_hand = (51 + 50 * 2 / 3) / 101
    assert precision(truths, results) == pytest.approx((by_hand,) * 3)


def test_an_overlap_of_82_percent_passes_seven_of_ten_thresholds():
    ap, ap50, ap75 = precision([truth(1, [0, 0, 50, 50])], [found([0, 0, 50, 41], 0.9)])
    assert (ap, ap50, ap75) == pytest.approx((0.7, 1, 1))


def test_classes_that_occur_count_alike():
    truths = [truth(1, FIRST), truth(2, SECOND, category=2)]
    assert precision(truths, [found(FIRST, 0.9)], (1, 2, 3)) == pytest.approx((0.5,) * 3)


def test_what_a_crowd_covers_does_not_count():
    truths = [truth(1, FIRST), truth(2, [60, 60, 40, 40], crowd=1)]
    results = [found([70, 70, 10, 10], 0.95), found(FIRST, 0.9)]
    assert precision(truths, results) == pytest.approx((1, 1, 1))


def test_boxes_of_another_image_are_wrong():
    assert precision([truth(1, FIRST)], [found(FIRST, 0.9, image=2)]) == (0, 0, 0)


def test_nothing_is_zero():
    assert precision([], [found(FIRST, 0.9)]) == (0, 0, 0)
    assert precision([truth(1, FIRST)], []) == (0, 0, 0)
    assert precision([truth(1, FIRST, crowd=1)], [found(FIRST, 0.9)]) == (0, 0, 0)
