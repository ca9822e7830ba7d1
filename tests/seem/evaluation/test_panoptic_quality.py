import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import LavallamaError
from seem.evaluation.panoptic_quality import MapSegment, PanopticQuality

CLASSES = 3


def matches(truth, truth_segments, found, found_segments, void):
    """IoU of each pair (truth id, found id) of one class above a half."""
    pairs = {}
    for one in truth_segments:
        for other in found_segments:
            a, b = truth == one.id, found == other.id
            union = (a | (b & ~void)).sum()
            if not one.crowd and one.label == other.label and union:
                pairs[one.id, other.id] = (a & b).sum() / union
    return {pair: value for pair, value in pairs.items() if value > 0.5}


def excused(other, truth, truth_segments, found, void):
    """Whether a found segment lies for more than half on void, or on a crowd of its class."""
    free = void.copy()
    for one in truth_segments:
        if one.crowd and one.label == other.label:
            free |= truth == one.id
    b = found == other.id
    return (b & free).sum() / b.sum() > 0.5


def by_definition(truth, truth_segments, found, found_segments):
    """One image, segment by segment: the paper's text, without tables of overlaps."""
    void = ~np.isin(truth, [s.id for s in truth_segments])
    truth_segments = [s for s in truth_segments if (truth == s.id).any()]
    found_segments = [s for s in found_segments if (found == s.id).any()]
    pairs = matches(truth, truth_segments, found, found_segments, void)
    lost = [
        s.label for s in truth_segments if not s.crowd and all(s.id != one for one, _ in pairs)
    ] + [
        s.label
        for s in found_segments
        if all(s.id != other for _, other in pairs)
        and not excused(s, truth, truth_segments, found, void)
    ]
    rows = {}
    for label in range(CLASSES):
        ids = {s.id for s in truth_segments if s.label == label}
        hits = [value for (one, _), value in pairs.items() if one in ids]
        weight = len(hits) + lost.count(label) / 2
        if weight:
            quality = np.mean(hits) if hits else 0.0
            rows[label] = (sum(hits) / weight, quality, len(hits) / weight)
    return rows


@st.composite
def maps(draw):
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    side = draw(st.integers(2, 9))
    truth = np.repeat(np.repeat(generator.integers(0, 5, (side, side)), 3, 0), 3, 1)
    found = np.where(generator.random(truth.shape) < 0.25, generator.integers(0, 5), truth)
    labels = generator.integers(0, CLASSES, 5)
    crowd = int(generator.integers(1, 9))  # at most one crowd: the reference keeps one a class
    truth_segments = [MapSegment(id=i, label=int(labels[i]), crowd=i == crowd) for i in range(1, 5)]
    wrong = generator.random(5) < 0.2
    found_segments = [
        MapSegment(id=i, label=int((labels[i] + wrong[i]) % CLASSES)) for i in range(1, 5)
    ]
    return truth, truth_segments, found, found_segments


@given(maps())
def test_quality_is_what_the_definition_gives(image):
    quality = PanopticQuality({0})
    quality.add(*image)
    rows = by_definition(*image)
    for name, labels in (("all", range(CLASSES)), ("things", [0]), ("stuff", [1, 2])):
        chosen = [rows[label] for label in labels if label in rows]
        result = quality.result()[name]
        assert result["classes"] == len(chosen)
        if chosen:
            expected = np.mean(chosen, axis=0)
            assert (result["pq"], result["sq"], result["rq"]) == pytest.approx(tuple(expected))


def test_a_case_by_hand():
    truth = np.zeros((4, 10), np.int32)
    truth[:, :4], truth[:, 4:8] = 1, 2  # 16 pixels each; 8 pixels are void
    found = np.zeros_like(truth)
    found[:, :3], found[:, 3:] = 1, 2  # 12 pixels; 28 of which 8 are void
    quality = PanopticQuality({0})
    segments = [MapSegment(id=1, label=0), MapSegment(id=2, label=1)]
    quality.add(truth, segments, found, segments)
    result = quality.result()
    assert result["things"]["pq"] == pytest.approx(12 / 16)
    assert result["stuff"]["pq"] == pytest.approx(16 / 20)
    assert result["all"]["pq"] == pytest.approx((12 / 16 + 16 / 20) / 2)
    assert result["all"]["rq"] == 1


def test_means_run_over_classes_of_all_images():
    quality = PanopticQuality({0, 1})
    whole = np.ones((2, 2), np.int32)
    quality.add(whole, [MapSegment(id=1, label=0)], whole, [MapSegment(id=1, label=0)])
    quality.add(whole, [MapSegment(id=1, label=0)], whole, [MapSegment(id=1, label=1)])
    result = quality.result()["all"]
    assert result == {
        "pq": pytest.approx(1 / 3),  # 1 / (1 + 1/2) and 0
        "sq": 0.5,
        "rq": pytest.approx(1 / 3),
        "classes": 2,
    }


def test_what_lies_on_a_crowd_or_on_void_is_no_mistake():
    truth = np.array([[1, 1, 0, 0, 2, 2]])
    segments = [MapSegment(id=1, label=0, crowd=True), MapSegment(id=2, label=0)]
    for place, mistakes in ((0, 0), (2, 0), (4, 1)):
        found = np.zeros_like(truth)
        found[0, place : place + 2] = 7
        label = 0 if place < 4 else 1
        quality = PanopticQuality({0, 1})
        quality.add(truth, segments, found, [MapSegment(id=7, label=label)])
        assert quality._counts[label].fp == mistakes


def test_nothing_measured_is_zero_classes():
    assert PanopticQuality(set()).result()["all"] == {"pq": 0, "sq": 0, "rq": 0, "classes": 0}


def test_maps_that_do_not_fit_are_refused():
    quality = PanopticQuality(set())
    with pytest.raises(LavallamaError, match="one shape"):
        quality.add(np.ones((2, 2), int), [], np.ones((2, 3), int), [])
    with pytest.raises(LavallamaError, match="id in the truth needs a segment; 1 has none"):
        quality.add(np.ones((2, 2), int), [], np.zeros((2, 2), int), [])
