import numpy as np
import pytest

from grounding.errors import LavallamaError
from seem.evaluation.semantic_iou import SemanticIou


def test_iou_is_counted_over_all_images_and_void_does_not_count():
    generator = np.random.default_rng(0)
    pairs = [(generator.integers(-1, 4, (7, 9)), generator.integers(0, 5, (7, 9))) for _ in "abc"]
    metric = SemanticIou(5)
    for truth, found in pairs:
        metric.add(truth, found)
    truth = np.concatenate([pair[0].ravel() for pair in pairs])
    found = np.concatenate([pair[1].ravel() for pair in pairs])[truth >= 0]
    truth = truth[truth >= 0]
    ious = [
        ((truth == k) & (found == k)).sum() / ((truth == k) | (found == k)).sum() for k in range(4)
    ]
    assert metric.result() == {"miou": pytest.approx(np.mean(ious)), "classes": 4}


def test_a_class_that_does_not_occur_has_no_part_in_the_mean():
    metric = SemanticIou(3)
    metric.add(np.array([[0, 0, 1, 1]]), np.array([[0, 2, 1, 1]]))
    assert metric.result() == {"miou": pytest.approx((1 / 2 + 1) / 2), "classes": 2}


def test_nothing_is_zero():
    assert SemanticIou(2).result() == {"miou": 0, "classes": 0}


@pytest.mark.parametrize(("truth", "found"), [([[0]], [[2]]), ([[2]], [[0]]), ([[0]], [[-1]])])
def test_numbers_of_no_class_are_refused(truth, found):
    with pytest.raises(LavallamaError, match="from 0 to 1"):
        SemanticIou(2).add(np.array(truth), np.array(found))


def test_maps_of_two_shapes_are_refused():
    with pytest.raises(LavallamaError, match="one shape"):
        SemanticIou(2).add(np.zeros((1, 2), int), np.zeros((2, 1), int))
