import numpy as np
import pytest
import torch

from seem.evaluation.mask_precision import MaskPrecision
from seem.postprocess import Instances


def found(masks, scores, labels):
    shape = np.asarray(masks).shape[1:] if len(masks) else (12, 12)
    return Instances(
        masks=torch.tensor(np.array(masks)).reshape(-1, *shape).bool(),
        scores=torch.tensor(scores, dtype=torch.float32),
        labels=torch.tensor(labels, dtype=torch.int64),
        queries=torch.zeros(len(scores), dtype=torch.int64),
    )


def square(y, x, side, canvas=12):
    mask = np.zeros((canvas, canvas), bool)
    mask[y : y + side, x : x + side] = True
    return mask


def average_precision(images, threshold):
    """One class, COCO's rule: area under the interpolated curve, sampled at 101 recalls."""
    ranked = sorted(
        (
            (score, number, mask)
            for number, (_, answers) in enumerate(images)
            for score, mask in answers
        ),
        key=lambda item: -item[0],
    )
    left = {number: list(truths) for number, (truths, _) in enumerate(images)}
    total = sum(map(len, left.values()))
    hits = []
    for _, number, mask in ranked:
        overlaps = [(truth & mask).sum() / (truth | mask).sum() for truth in left[number]]
        hit = bool(overlaps) and max(overlaps) >= threshold
        hits.append(hit)
        if hit:
            left[number].pop(int(np.argmax(overlaps)))
    right = np.cumsum(hits)
    recall, precision = right / total, right / np.arange(1, len(hits) + 1)
    points = [max(precision[recall >= r], default=0.0) for r in np.linspace(0, 1, 101)]
    return float(np.mean(points))


def test_precision_is_what_the_rule_gives():
    generator = np.random.default_rng(3)
    images, metric = [], MaskPrecision(1)
    for _ in range(12):
        truths = [square(*place, 30) for place in ((0, 0, 12), (15, 15, 11), (0, 17, 9))]
        truths = truths[: int(generator.integers(1, 4))]
        masks = [np.roll(t, int(generator.integers(0, 3)), 1) for t in truths]
        masks.append(square(18, 0, 9, 30))
        scores = generator.permutation(40)[: len(masks)] / 40 + generator.random() / 100
        images.append((truths, list(zip(scores.tolist(), masks, strict=True))))
        metric.add(
            truths, [0] * len(truths), [False] * len(truths), found(masks, scores, [0] * len(masks))
        )
    result = metric.result()
    every = [average_precision(images, t) for t in np.linspace(0.5, 0.95, 10)]
    assert result["map"] == pytest.approx(np.mean(every), abs=1e-6)
    assert result["ap50"] == pytest.approx(every[0], abs=1e-6)
    assert result["ap75"] == pytest.approx(every[5], abs=1e-6)
    assert 0.1 < result["map"] < result["ap50"] < 1


def test_perfect_answers_have_precision_one_and_crowds_do_not_count():
    metric = MaskPrecision(2)
    truths = [square(0, 0, 5), square(6, 6, 4)]
    metric.add(truths, [0, 1], [False, True], found([truths[0]], [0.9], [0]))
    assert metric.result() == pytest.approx({"map": 1, "ap50": 1, "ap75": 1, "objects": 1})


def test_the_right_mask_of_the_wrong_class_is_wrong():
    metric = MaskPrecision(2)
    metric.add([square(0, 0, 5)], [0], [False], found([square(0, 0, 5)], [0.9], [1]))
    assert metric.result()["map"] == 0


def test_nothing_found_is_zero_and_nothing_is_printed(capsys):
    metric = MaskPrecision(1)
    metric.add([square(0, 0, 5)], [0], [False], found([], [], []))
    assert metric.result() == {"map": 0, "ap50": 0, "ap75": 0, "objects": 1}
    metric.add([square(0, 0, 5)], [0], [False], found([square(0, 0, 5)], [0.5], [0]))
    assert metric.result()["map"] == pytest.approx(0.5, abs=0.01)
    assert not capsys.readouterr().out
