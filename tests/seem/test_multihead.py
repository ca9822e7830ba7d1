import pytest
import torch
from torch import nn

from seem.multihead import MultiheadAttention


def pair(dim: int = 24, heads: int = 3) -> tuple[MultiheadAttention, nn.MultiheadAttention]:
    torch.manual_seed(0)
    reference = nn.MultiheadAttention(dim, heads, batch_first=True)
    nn.init.normal_(reference.in_proj_bias)
    nn.init.normal_(reference.out_proj.bias)
    ours = MultiheadAttention(dim, heads)
    ours.load_state_dict(reference.state_dict())
    return ours, reference


def test_it_computes_what_pytorch_computes_under_pytorchs_names():
    ours, reference = pair()
    query, key, value = torch.randn(2, 5, 24), torch.randn(2, 7, 24), torch.randn(2, 7, 24)
    mask = torch.rand(5, 7) > 0.4
    mask[:, 0] = True
    with torch.no_grad():
        wanted, _ = reference(query, key, value, attn_mask=~mask, need_weights=False)
        got = ours(query, key, value, mask=mask[None, None])
    torch.testing.assert_close(got, wanted)


def test_kept_keys_and_values_serve_any_query():
    ours, _ = pair()
    context = torch.randn(2, 7, 24)
    with torch.no_grad():
        key, value = ours.keys(context), ours.values(context)
        for count in (1, 4):
            query = torch.randn(2, count, 24)
            got = ours.attend(ours.queries(query), key, value)
            torch.testing.assert_close(got, ours(query, context, context))


def test_a_query_that_sees_nothing_gets_the_bias_alone():
    ours, _ = pair()
    tokens = torch.randn(1, 4, 24)
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    mask[:, :, 2] = False
    with torch.no_grad():
        got = ours(tokens, tokens, tokens, mask=mask)
        assert torch.equal(got[0, 2], ours.out_proj.bias)
        assert not torch.equal(got[0, 1], ours.out_proj.bias)


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match="7 heads must divide the 24 channels"):
        MultiheadAttention(24, 7)
