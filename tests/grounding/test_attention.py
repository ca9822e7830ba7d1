import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grounding import attention as module
from grounding.attention import attention, choose_backend
from grounding.errors import AttentionError


def tensors(batch=2, heads=3, queries=5, keys=7, dim=8, dtype=torch.float32):
    torch.manual_seed(queries * keys)
    shapes = (queries, keys, keys)
    return [torch.randn(batch, heads, tokens, dim, dtype=dtype) for tokens in shapes]


@settings(max_examples=25, deadline=None)
@given(queries=st.integers(1, 33), keys=st.integers(1, 33), kind=st.sampled_from(["no", "01", "+"]))
def test_sdpa_agrees_with_plain_maths(queries, keys, kind):
    q, k, v = tensors(queries=queries, keys=keys)
    mask = None
    if kind == "01":
        mask = torch.rand(2, 1, queries, keys) < 0.5
    if kind == "+":
        mask = torch.randn(1, 3, 1, keys)
    expected = attention(q, k, v, mask=mask, backend="math")
    assert torch.allclose(attention(q, k, v, mask=mask, backend="sdpa"), expected, atol=1e-5)


@pytest.mark.parametrize("backend", ["sdpa", "math"])
def test_a_mask_hides_what_it_masks(backend):
    q, k, v = tensors()
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    mask[..., 4:] = False
    masked = attention(q, k, v, mask=mask, backend=backend)
    assert torch.allclose(
        masked, attention(q, k[:, :, :4], v[:, :, :4], backend=backend), atol=1e-6
    )
    assert not torch.allclose(masked, attention(q, k, v, backend=backend), atol=1e-3)


@pytest.mark.parametrize("backend", ["sdpa", "math"])
def test_a_query_that_may_see_nothing_gets_zeros(backend):
    q, k, v = tensors()
    mask = torch.ones(2, 3, 5, 7, dtype=torch.bool)
    mask[0, 0, 1] = False
    seen = attention(q, k, v, mask=mask, backend=backend)
    assert seen[0, 0, 1].eq(0).all()
    assert seen[0, 0, 0].ne(0).any()


def test_plain_maths_keeps_the_dtype_and_computes_in_float32():
    q, k, v = tensors(dtype=torch.bfloat16)
    seen = attention(q, k, v, backend="math")
    exact = attention(q.float(), k.float(), v.float(), backend="math")
    assert seen.dtype == torch.bfloat16
    assert torch.equal(seen, exact.to(torch.bfloat16))


@pytest.mark.parametrize(
    "shape", [(2, 3, 5, 6), (2, 3, 7), (2, 2, 5, 7), (3, 1, 1, 7), (2, 3, 5, 1), (5, 7)]
)
def test_a_mask_that_does_not_fit_is_refused(shape):
    q, k, v = tensors()
    with pytest.raises(AttentionError, match=r"\[2, 3, 5, 7\]; got"):
        attention(q, k, v, mask=torch.zeros(shape))


def test_xformers_is_refused_on_the_cpu():
    q, k, v = tensors()
    with pytest.raises(AttentionError, match="needs a CUDA device.*choose attention 'auto'"):
        attention(q, k, v, backend="xformers")


def test_xformers_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(module, "_has_xformers", lambda: False)
    with pytest.raises(AttentionError, match=r"pip install 'lavallama\[gpu\]'"):
        choose_backend("xformers", "cuda")


def test_an_unknown_backend_lists_the_known():
    with pytest.raises(AttentionError, match="auto, sdpa, xformers, math; got 'flash'"):
        choose_backend("flash", "cpu")


def test_auto_takes_xformers_only_on_cuda_and_only_if_there(monkeypatch):
    assert choose_backend("auto", "cpu") == "sdpa"
    monkeypatch.setattr(module, "_has_xformers", lambda: True)
    assert choose_backend("auto", "cpu") == "sdpa"
    assert choose_backend("auto", "cuda", torch.float16) == "xformers"
    assert choose_backend("auto", "cuda", torch.float64) == "sdpa"
    monkeypatch.setattr(module, "_has_xformers", lambda: False)
    assert choose_backend("auto", "cuda", torch.float16) == "sdpa"


def test_importing_does_not_import_xformers():
    assert "xformers" not in sys.modules


@pytest.mark.parametrize("keys", [30, 77, 64, 4126])
def test_the_bias_for_xformers_is_stored_in_aligned_rows(keys):
    q, k, _ = tensors(queries=3, keys=keys)
    mask = torch.rand(2, 1, 1, keys) < 0.5
    bias = module._aligned_bias(mask, q, k)
    assert bias.shape == (2, 3, 3, keys)
    assert all(stride % 8 == 0 for stride in bias.stride()[:-1])
    assert bias.stride(-1) == 1
    assert torch.equal(bias == 0, mask.expand_as(bias))


def test_our_call_of_xformers_speaks_its_layout(monkeypatch):
    def memory_efficient_attention(q, k, v, attn_bias=None):
        assert q.shape == (2, 5, 3, 8)  # [batch, tokens, heads, channels]
        weights = torch.einsum("bqhd,bkhd->bhqk", q, k) * q.shape[-1] ** -0.5
        weights = (weights if attn_bias is None else weights + attn_bias).softmax(-1)
        return torch.einsum("bhqk,bkhd->bqhd", weights, v)

    ops = type(sys)("xformers.ops")
    ops.memory_efficient_attention = memory_efficient_attention
    monkeypatch.setitem(sys.modules, "xformers", type(sys)("xformers"))
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)
    q, k, v = tensors()
    mask = torch.rand(2, 1, 5, 7) < 0.5
    mask[0, 0, 0] = False
    for each in (None, mask, torch.randn(1, 1, 5, 7)):
        expected = attention(q, k, v, mask=each, backend="math")
        assert torch.allclose(module._xformers(q, k, v, each), expected, atol=1e-5)


def test_a_missing_kernel_falls_back_only_when_the_choice_was_ours(monkeypatch):
    def no_kernel(*_):
        raise NotImplementedError("No operator found")

    monkeypatch.setattr(module, "_xformers", no_kernel)
    monkeypatch.setattr(module, "choose_backend", lambda *_: "xformers")
    q, k, v = tensors()
    assert torch.equal(attention(q, k, v), attention(q, k, v, backend="auto"))
    with pytest.raises(AttentionError, match="no kernel for torch.float32"):
        attention(q, k, v, backend="xformers")
