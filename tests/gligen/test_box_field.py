"""The field in a box's own coordinates: what it sees, and what it must not depend on."""

import pytest
import torch

from gligen.adapter import AdapterConfig
from gligen.box_field import BoxField, cell_boxes
from tests.gligen import tiny

LEFT, RIGHT = [0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]
CONFIG = AdapterConfig(phrase_dim=32, context_dim=32, hidden_dim=48, field_dim=24)


def field():
    torch.manual_seed(0)
    return BoxField(phrase_dim=6, out_dim=5, hidden_dim=16)


def features(model, boxes, phrases, grid=(4, 4), masks=None):
    boxes = torch.tensor([boxes])
    masks = torch.ones(boxes.shape[:2]) if masks is None else torch.tensor([masks])
    tokens = model.attach(torch.zeros(1, boxes.shape[1], 3), boxes, masks, phrases)
    return model(tokens, *grid)[0].unflatten(0, grid)


def test_cells_are_boxes_row_by_row():
    cells = cell_boxes(2, 4)
    assert cells.shape == (8, 4)
    assert cells[6].tolist() == [0.5, 0.5, 0.75, 1.0]


def test_there_is_nothing_outside_of_boxes():
    model, phrase = field(), torch.randn(1, 1, 6)
    touched = features(model, [LEFT], phrase).ne(0).any(-1)
    assert touched[:2, :2].all()
    assert touched.sum() == 4
    assert features(model, [LEFT], phrase, masks=[0.0]).eq(0).all()


def test_a_box_looks_the_same_wherever_it_is():
    model, phrase = field(), torch.randn(1, 1, 6)
    one, other = features(model, [LEFT], phrase), features(model, [RIGHT], phrase)
    assert torch.allclose(one[:2, :2], other[2:, 2:], atol=1e-5)
    assert not torch.allclose(one[0, 0], one[1, 1], atol=1e-3)


def test_phrases_differ_and_boxes_that_share_a_cell_add_up():
    model, phrases = field(), torch.randn(1, 2, 6)
    first = features(model, [LEFT], phrases[:, :1])
    second = features(model, [LEFT], phrases[:, 1:])
    assert not torch.allclose(first, second, atol=1e-3)
    both = features(model, [LEFT, LEFT], phrases)
    assert torch.allclose(both, first + second, atol=1e-5)


def test_tokens_come_back_as_they_went():
    model, tokens = field(), torch.randn(2, 3, 7)
    carried = model.attach(tokens, torch.rand(2, 3, 4), torch.ones(2, 3), torch.randn(2, 3, 6))
    assert carried.shape == (2, 3, 7 + 6 + 5)
    assert torch.equal(model.bare(carried), tokens)


def test_a_batch_equals_its_images():
    model, boxes = field(), torch.tensor([[LEFT, RIGHT], [RIGHT, LEFT]])
    masks, phrases = torch.tensor([[1.0, 1.0], [1.0, 0.0]]), torch.randn(2, 2, 6)
    tokens = model.attach(torch.zeros(2, 2, 3), boxes, masks, phrases)
    single = torch.cat([model(one, 3, 5) for one in tokens.split(1)])
    assert torch.allclose(model(tokens, 3, 5), single, atol=1e-6)


@pytest.mark.parametrize("grad", [True, False])
def test_gates_of_every_resolution_are_told(grad):
    unet, arguments = tiny.unet(), tiny.inputs(size=(8, 8))
    adapter = tiny.open_adapter(unet, CONFIG)
    boxes, masks, phrases = tiny.layout()
    pictures = []
    with adapter.injected(unet), torch.set_grad_enabled(grad):
        for shift in (0.0, 0.25):
            with adapter.grounded(adapter.tokens(boxes * 0.5 + shift, masks, phrases)):
                pictures.append(unet(**arguments).sample)
                again = unet(**arguments).sample
            assert torch.equal(pictures[-1], again)
    assert not torch.allclose(*pictures, atol=1e-3)
    if grad:
        pictures[0].square().mean().backward()
        assert all(p.grad is not None for p in adapter.box_field.parameters())


def test_other_sizes_within_one_run_get_their_own_field():
    unet = tiny.unet()
    adapter = tiny.open_adapter(unet, CONFIG)
    tokens = adapter.tokens(*tiny.layout()).detach()
    wide, tall = tiny.inputs(size=(4, 8)), tiny.inputs(size=(8, 4))
    with torch.no_grad(), adapter.injected(unet):
        with adapter.grounded(tokens):
            unet(**wide)
            second = unet(**tall).sample
        with adapter.grounded(tokens):
            alone = unet(**tall).sample
    assert torch.equal(second, alone)


def test_null_tokens_have_no_field():
    unet = tiny.unet()
    adapter = tiny.open_adapter(unet, CONFIG)
    tokens = adapter.null_tokens(2, 3)
    assert adapter.box_field(tokens, 4, 4).eq(0).all()
