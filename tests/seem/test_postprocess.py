from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from grounding.errors import GeometryError
from seem.postprocess import (
    instances,
    label_map,
    panoptic,
    restore_linear,
    restore_smooth,
    semantic,
)
from seem.preprocess import ImageSize
from tests.parity.seem_results import post_arrays

GOLDEN = Path(__file__).parents[1] / "golden" / "seem_focalt_v0.npz"
RELATIVE = 1e-4  # of the largest element: rounding, not a difference
SIZE = ImageSize(original=(30, 40), image=(48, 60), padded=(64, 64))


def one_hot_logits(labels, classes, confidence=10.0):
    return confidence * torch.eye(classes + 1)[torch.tensor(labels)]


def blocks(*areas, shape=(8, 8)):
    masks = torch.full((len(areas), *shape), -8.0)
    for mask, (rows, columns) in zip(masks, areas, strict=True):
        mask[rows, columns] = 8.0
    return masks


LEFT, RIGHT, ALL = slice(0, 4), slice(4, 8), slice(0, 8)


def test_segments_are_the_official_ones():
    golden = np.load(GOLDEN)
    ours = post_arrays("golden:")
    assert set(ours) == {name for name in golden if name.startswith("post.")}
    for name, array in ours.items():
        wanted = golden[name]
        exact = wanted.dtype.kind in "iu"
        tolerance = 0 if exact else RELATIVE * np.abs(wanted).max()
        np.testing.assert_allclose(array, wanted, rtol=0, atol=tolerance, err_msg=name)


def test_stuff_is_merged_and_things_are_not():
    masks = blocks((ALL, LEFT), (ALL, RIGHT))
    stuff = panoptic(one_hot_logits([1, 1], 2), masks, things={0})
    assert [(s.id, s.label, s.is_thing, s.area) for s in stuff.segments] == [(1, 1, False, 64)]
    assert (stuff.map == 1).all()
    things = panoptic(one_hot_logits([0, 0], 2), masks, things={0})
    assert [(s.id, s.area) for s in things.segments] == [(1, 32), (2, 32)]
    assert things.map.dtype == torch.int32
    assert things.map[0].tolist() == [1] * 4 + [2] * 4


def test_a_mask_that_is_mostly_covered_is_dropped():
    masks = blocks((ALL, LEFT), (ALL, slice(0, 5)))
    masks[0] += 1
    masks[0, :, RIGHT] = -8
    found = panoptic(one_hot_logits([0, 0], 1), masks, things={0})
    assert [s.area for s in found.segments] == [32]
    assert found.map[0].tolist() == [1] * 4 + [0] * 4
    lenient = panoptic(one_hot_logits([0, 0], 1), masks, things={0}, overlap_threshold=0.1)
    assert [s.area for s in lenient.segments] == [32, 8]


def test_background_and_doubt_leave_the_map_empty():
    masks = blocks((ALL, LEFT), (ALL, RIGHT))
    nothing = panoptic(one_hot_logits([1, 1], 1), masks, things={0}, size=SIZE)
    assert nothing.segments == ()
    assert nothing.map.shape == (30, 40)
    assert not nothing.map.any()
    doubtful = one_hot_logits([0, 0], 1, confidence=1.0)  # a probability of 0.73
    assert not panoptic(doubtful, masks, things={0}).segments
    assert len(panoptic(doubtful, masks, things={0}, object_threshold=0.7).segments) == 2


def test_instances_are_things_in_falling_order():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(9, 5, generator=generator)
    masks = torch.randn(9, 6, 7, generator=generator)
    found = instances(logits, masks, things={0, 2}, detections=20)
    assert set(found.labels.tolist()) <= {0, 2}
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert torch.equal(found.masks, masks[found.queries] > 0)
    chances = logits.softmax(-1)
    for mask, score, label, query in zip(
        masks[found.queries], found.scores, found.labels, found.queries, strict=True
    ):
        certainty = mask.sigmoid()[mask > 0].mean()
        torch.testing.assert_close(score, chances[query, label] * certainty)


def test_no_thing_leaves_no_instance():
    found = instances(one_hot_logits([0], 2), blocks((ALL, LEFT)), things=(), size=SIZE)
    assert found.masks.shape == (0, 30, 40)
    assert len(found.scores) == len(found.labels) == len(found.queries) == 0


def test_semantic_adds_up_queries_however_many():
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(37, 4, generator=generator)
    masks = torch.randn(37, 5, 6, generator=generator)
    claims = semantic(logits, masks)
    wanted = torch.einsum("qk,qhw->khw", logits.softmax(-1)[:, :3], masks.sigmoid())
    torch.testing.assert_close(claims, wanted)
    assert torch.equal(label_map(claims), claims.argmax(0))


def test_an_even_mask_survives_resizing():
    for restore in (restore_smooth, restore_linear):
        restored = restore(torch.full((2, 16, 16), 3.0), SIZE)
        torch.testing.assert_close(restored, torch.full((2, 30, 40), 3.0))
        assert restore(torch.zeros(0, 16, 16), SIZE).shape == (0, 30, 40)


def test_padding_never_shows():
    """A ramp that counts padded columns: the last column of the image is the last one seen."""
    ramp = (torch.arange(64.0) + 0.5).expand(1, 64, 64)
    for restore in (restore_smooth, restore_linear):
        restored = restore(ramp, SIZE)[0, 15]
        middle = (torch.arange(40.0) + 0.5) * 60 / 40
        torch.testing.assert_close(restored[3:-3], middle[3:-3], rtol=0, atol=0.05)
        assert restored.max() < 60.5


def test_shrinking_averages_out_fine_grain_only_where_it_is_smooth():
    grain = torch.ones(1, 64, 64)
    grain[..., ::2] = -1
    shrunk = ImageSize(original=(16, 16), image=(64, 64), padded=(64, 64))
    assert restore_smooth(grain, shrunk).abs().max() < 0.1
    shifted = ImageSize(original=(64, 21), image=(64, 64), padded=(64, 64))
    assert restore_linear(grain, shifted).abs().max() > 0.9


def test_masks_do_not_depend_on_their_neighbours():
    masks = torch.randn(5, 16, 16, generator=torch.Generator().manual_seed(5))
    for restore in (restore_smooth, restore_linear):
        together = restore(masks, SIZE)
        alone = torch.cat([restore(mask[None], SIZE) for mask in masks])
        assert torch.equal(together, alone)


def test_segments_at_the_size_of_the_image():
    masks = blocks((ALL, LEFT), (ALL, RIGHT), shape=(16, 16))
    logits = one_hot_logits([0, 0], 1)
    size = replace(SIZE, image=(64, 64), original=(32, 48))
    assert panoptic(logits, masks, things={0}, size=size).map.shape == (32, 48)
    assert instances(logits, masks, things={0}, size=size).masks.shape[1:] == (32, 48)
    assert semantic(logits, masks, size=size).shape == (1, 32, 48)


def test_half_precision_is_judged_in_single():
    masks, logits = blocks((ALL, LEFT)), one_hot_logits([0], 1)
    half = semantic(logits.bfloat16(), masks.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, semantic(logits, masks))


@pytest.mark.parametrize(
    "shapes", [((3, 4), (2, 5, 5)), ((3, 1), (3, 5, 5)), ((1, 3, 4), (3, 5, 5))]
)
def test_shapes_that_do_not_fit_are_refused_in_one_line(shapes):
    logits, masks = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(GeometryError, match="background last") as caught:
        panoptic(logits, masks, things={0})
    assert "\n" not in str(caught.value)
    with pytest.raises(GeometryError, match="take image after image"):
        restore_smooth(masks[None], SIZE)
