import torch
import torch.nn.functional as F

from gligen.fourier import fourier_embed
from gligen.gate import GatedSelfAttention, cell_features
from tests.gligen.tiny import randomise


def gate(**options):
    torch.manual_seed(0)
    module = GatedSelfAttention(query_dim=24, context_dim=16, heads=3, head_dim=8, **options)
    randomise(module)
    return module


def visual_and_tokens():
    torch.manual_seed(1)
    return torch.randn(2, 12, 24), torch.randn(2, 5, 16)


def test_equals_the_equations_of_the_paper():
    module = gate()
    x, tokens = visual_and_tokens()
    o = module.linear(tokens)
    both = F.layer_norm(torch.cat((x, o), 1), (24,), module.norm1.weight, module.norm1.bias)
    q, k, v = (
        layer(both).view(2, 17, 3, 8).transpose(1, 2)
        for layer in (module.attn.to_q, module.attn.to_k, module.attn.to_v)
    )
    weights = (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1)
    seen = module.attn.to_out[0]((weights @ v).transpose(1, 2).flatten(2))[:, :12]
    expected = x + 0.5 * module.alpha_attn.tanh() * seen
    value, opened = module.ff.net[0].proj(module.norm2(expected)).chunk(2, dim=-1)
    thought = module.ff.net[2](value * F.gelu(opened))
    expected = expected + 0.5 * module.alpha_dense.tanh() * thought
    assert torch.allclose(module(x, module.remember(tokens), scale=0.5), expected, atol=1e-5)


def test_a_new_gate_is_the_identity_bit_for_bit():
    x, tokens = visual_and_tokens()
    fresh = GatedSelfAttention(query_dim=24, context_dim=16, heads=3, head_dim=8)
    assert torch.equal(fresh(x, fresh.remember(tokens)), x)
    fresh.reset_as_residual()
    assert fresh.alpha_attn == fresh.alpha_dense == 1
    assert torch.equal(fresh(x, fresh.remember(tokens)), x)


def test_keys_are_those_of_the_official_fuser():
    keys = set(gate().state_dict())
    assert keys == {
        *("alpha_attn", "alpha_dense", "linear.weight", "linear.bias"),
        *("attn.to_q.weight", "attn.to_k.weight", "attn.to_v.weight"),
        *("attn.to_out.0.weight", "attn.to_out.0.bias"),
        *("ff.net.0.proj.weight", "ff.net.0.proj.bias", "ff.net.2.weight", "ff.net.2.bias"),
        *("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"),
    }
    extra = set(gate(position_features=True).state_dict()) - keys
    assert extra == {"position.weight", "position.bias"}
    extra = set(gate(field_dim=8).state_dict()) - keys
    assert extra == {"field.weight", "field.bias"}


def test_position_features_start_silent_and_stay_inside_the_gate():
    x, tokens = visual_and_tokens()
    fresh = GatedSelfAttention(
        query_dim=24, context_dim=16, heads=3, head_dim=8, position_features=True
    )
    cells = cell_features(3, 4)
    assert fresh.position.weight.eq(0).all()
    assert fresh.position.bias.eq(0).all()
    module = gate(position_features=True)
    memory = module.remember(tokens, cells=cells)
    elsewhere = module.remember(tokens, cells=cells.flip(0))
    assert not torch.allclose(module(x, memory), module(x, elsewhere), atol=1e-3)
    module.alpha_attn.data.zero_()
    module.alpha_dense.data.zero_()
    assert torch.equal(module(x, memory), x)  # the residual stream has no positions


def test_cells_are_boxes_row_by_row():
    cells = cell_features(2, 4)
    assert cells.shape == (8, 64)
    assert torch.equal(cells[6], fourier_embed(torch.tensor([0.5, 0.5, 0.75, 1.0])))
