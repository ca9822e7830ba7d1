import torch

from gligen.tokenizers import TextBoxTokenizer
from tests.gligen.tiny import layout, randomise


def tokenizer():
    torch.manual_seed(0)
    module = TextBoxTokenizer(phrase_dim=32, out_dim=24, hidden_dim=16)
    randomise(module)
    return module


def test_absent_regions_are_the_null_token_whatever_they_hold():
    boxes, masks, phrases = layout()
    module = tokenizer()
    tokens = module(boxes, masks, phrases)
    null = module(torch.zeros(1, 1, 4), torch.zeros(1, 1), torch.zeros(1, 1, 32))
    assert torch.allclose(tokens[0, 2:], null[0].expand(28, -1), atol=1e-6)
    assert not torch.allclose(tokens[0, 1], null[0, 0], atol=1e-3)
    nonsense = torch.where(masks[..., None].bool(), phrases, torch.nan)
    assert torch.equal(module(boxes, masks.bool(), nonsense), tokens)


def test_a_token_depends_on_its_own_region_only():
    boxes, masks, phrases = layout()
    module = tokenizer()
    tokens = module(boxes, masks, phrases)
    boxes[0, 0] += 0.1
    moved = module(boxes, masks, phrases)
    assert not torch.allclose(moved[0, 0], tokens[0, 0], atol=1e-3)
    assert torch.allclose(moved.flatten(0, 1)[1:], tokens.flatten(0, 1)[1:], atol=1e-6)


def test_boxes_are_embedded_in_float32_by_a_half_precision_tokenizer():
    boxes, masks, phrases = layout()
    module = tokenizer()
    exact = module(boxes, masks, phrases)
    half = module.to(torch.bfloat16)(boxes, masks, phrases)
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).norm() / exact.norm() < 0.02
