"""The mask refiner: shapes, looks read elsewhere, and nothing that cannot learn."""

import pytest
import torch

from grounding.region import Point
from seem.mark_planes import MarkPlanes, mark_planes
from seem.marks import Marks
from seem.model import Seem, build_seem
from seem.preprocess import ImageSize
from seem.refiner import MaskRefiner
from tests.seem.tiny import REFINED, SIZE, normal, tiny_refined_seem

SIZES = ImageSize(original=SIZE, image=SIZE, padded=SIZE)
CLICK = Marks(points=(Point(xy=(0.3, 0.4), label=1), Point(xy=(0.8, 0.7), label=0)))
BOX = Marks(box=(0.1, 0.2, 0.6, 0.9))
MASKS = REFINED.queries_per_object


def refine(model: Seem, marks: list[Marks], **given):
    refiner, memory = model.refiner, model.encode_image(normal(1, 1, 3, *SIZE)).refiner
    assert isinstance(refiner, MaskRefiner)
    assert memory is not None
    many = memory.select(torch.zeros(len(marks), dtype=torch.long))
    queries = normal(2, 1, MASKS, 16, 24).expand(len(marks), -1, -1, -1)
    return refiner(many, mark_planes(marks, SIZES), queries, **given)


@torch.no_grad()
def test_masks_are_at_stride_two_and_have_a_quality_each() -> None:
    found = refine(tiny_refined_seem(), [CLICK, BOX, Marks()])
    assert found.logits.shape == (3, MASKS, 32, 48)
    assert found.coarse.shape == (3, MASKS, 16, 24)
    assert found.quality.shape == (3, MASKS)
    alone = refine(tiny_refined_seem(), [BOX])
    torch.testing.assert_close(alone.logits[0], found.logits[1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found.logits[0], found.logits[1])


@torch.no_grad()
def test_looks_that_were_read_elsewhere_count() -> None:
    model = tiny_refined_seem()
    refiner, memory = model.refiner, model.encode_image(normal(1, 1, 3, *SIZE)).refiner
    other = model.encode_image(normal(5, 1, 3, *SIZE)).refiner
    assert isinstance(refiner, MaskRefiner)
    assert memory is not None
    assert other is not None
    planes = mark_planes([CLICK], SIZES)
    here, there = refiner.read_looks(memory, planes), refiner.read_looks(other, planes)
    for looks in here:
        assert looks.shape == (1, 2, REFINED.refiner.looks if REFINED.refiner else 0)
        torch.testing.assert_close(looks.norm(dim=-1), torch.ones(1, 2))
    as_marked, given = refine(model, [CLICK]), refine(model, [CLICK], prototypes=here)
    assert torch.equal(as_marked.logits, given.logits)
    assert not torch.allclose(as_marked.logits, refine(model, [CLICK], prototypes=there).logits)


@torch.no_grad()
def test_looks_are_those_of_the_places_that_are_marked() -> None:
    model = tiny_refined_seem()
    refiner, memory = model.refiner, model.encode_image(normal(1, 1, 3, *SIZE)).refiner
    assert isinstance(refiner, MaskRefiner)
    assert memory is not None
    weights = torch.zeros(1, 1, 16, 24)
    weights[..., 3, 7] = 0.7
    planes = torch.zeros(1, 11, 16, 24)
    marked = MarkPlanes(planes=planes, positive=weights, negative=0 * weights)
    fine, *_ = refiner.read_looks(memory, marked)
    torch.testing.assert_close(fine[0, 0], memory.looks[0][0, :, 3, 7], rtol=1e-4, atol=1e-4)
    assert not fine[0, 1].any()  # nothing was said of what does not belong to it


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    model = build_seem(REFINED)
    found = refine(model, [CLICK, BOX])
    assert model.refiner is not None
    (found.logits.square().mean() + found.quality.square().mean()).backward()
    still = [
        name
        for name, parameter in model.refiner.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert still == []


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 64), (96, 64)])
def test_any_padded_size(size) -> None:
    model = tiny_refined_seem()
    memory = model.encode_image(normal(1, 1, 3, *size)).refiner
    assert model.refiner is not None
    sizes = ImageSize(original=size, image=size, padded=size)
    queries = normal(2, 1, MASKS, size[0] // 4, size[1] // 4)
    found = model.refiner(memory, mark_planes([BOX], sizes), queries)
    assert found.logits.shape == (1, MASKS, size[0] // 2, size[1] // 2)
    assert found.logits.isfinite().all()
