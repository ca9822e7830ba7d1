"""One attention call for every model: xformers on CUDA, SDPA elsewhere, plain maths to check.

Axes: B batch, H heads, Q query tokens, K key tokens, D channels of a head.

`attention` computes softmax(query @ key^T / sqrt(D) + mask) @ value (Vaswani et al., "Attention Is
All You Need", arXiv 1706.03762, equation 1) and returns what PyTorch's scaled_dot_product_attention
returns. A mask is applied by every backend or refused by it, never dropped.
"""

import importlib.util
import logging
import math
from functools import cache
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from grounding.errors import AttentionError

__all__ = ["Backend", "attention", "choose_backend"]

Backend = Literal["auto", "sdpa", "xformers", "math"]
Query = Float[Tensor, "B H Q D"]
Key = Float[Tensor, "B H K D"]
Mask = Float[Tensor, "#B #H #Q K"] | Bool[Tensor, "#B #H #Q K"]

BIAS_ALIGNMENT = 8  # xformers reads a bias in rows that start at multiples of 8 elements
XFORMERS_DTYPES = (torch.float32, torch.float16, torch.bfloat16)

log = logging.getLogger(__name__)


def attention(
    query: Query, key: Key, value: Key, *, mask: Mask | None = None, backend: Backend = "auto"
) -> Query:
    """Scaled dot-product attention of all heads.

    Args:
        query: [B, H, Q, D].
        key: [B, H, K, D].
        value: [B, H, K, D].
        mask: broadcastable to [B, H, Q, K]; bool (True = may attend) or an additive bias.
        backend: "auto" takes xformers on CUDA where it is installed and SDPA everywhere else;
            "sdpa", "xformers" and "math" (plain matrix products, in float32) insist.

    Returns:
        [B, H, Q, D], in the dtype of `query`. A query that may attend to nothing gets zeros.

    Raises:
        AttentionError: the backend is unknown or cannot run here, or the mask does not fit.
    """
    chosen = choose_backend(backend, query.device, query.dtype)
    if mask is not None:
        _check_mask(mask, query, key)
    if chosen == "math":
        return _plain_maths(query, key, value, mask)
    if chosen == "xformers":
        try:
            return _xformers(query, key, value, mask)
        except NotImplementedError as error:  # no kernel for this shape, dtype or card
            if backend == "xformers":
                raise AttentionError(
                    f"xformers has no kernel for {query.dtype} heads of {query.shape[-1]} channels "
                    "on this device; choose attention 'auto' or 'sdpa'"
                ) from error
            _say_once(f"xformers has no kernel for {query.dtype}, D={query.shape[-1]}: using SDPA")
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def choose_backend(
    backend: Backend, device: torch.device | str, dtype: torch.dtype | None = None
) -> Literal["sdpa", "xformers", "math"]:
    """Settle "auto" for a device, and refuse what cannot run on it.

    Raises:
        AttentionError: unknown name; xformers off CUDA; xformers not installed.
    """
    if backend not in get_args(Backend):
        choices = ", ".join(get_args(Backend))
        raise AttentionError(f"attention backend must be one of {choices}; got {backend!r}")
    on_cuda = torch.device(device).type == "cuda"
    if backend == "xformers":
        if not on_cuda:
            raise AttentionError(
                f"attention 'xformers' needs a CUDA device, but this runs on "
                f"{torch.device(device).type}; choose attention 'auto' or 'sdpa'"
            )
        if not _has_xformers():
            raise AttentionError(
                "attention 'xformers' was asked for, but xformers cannot be imported; "
                "pip install 'lavallama[gpu]', or choose attention 'auto' or 'sdpa'"
            )
        return "xformers"
    if backend == "auto":
        fits = on_cuda and (dtype is None or dtype in XFORMERS_DTYPES)
        return "xformers" if fits and _has_xformers() else "sdpa"
    return backend


def _plain_maths(query: Query, key: Key, value: Key, mask: Mask | None) -> Query:
    """Equation 1 as written, in float32: the reference that the others are held against."""
    weights = query.float() @ key.float().transpose(-1, -2) / math.sqrt(query.shape[-1])
    if mask is not None:
        weights = weights + _as_bias(mask, torch.float32)
    nothing = torch.isneginf(weights).all(dim=-1, keepdim=True)
    weights = torch.softmax(weights, dim=-1).masked_fill(nothing, 0.0)
    return (weights @ value.float()).to(query.dtype)


def _xformers(query: Query, key: Key, value: Key, mask: Mask | None) -> Query:
    """xformers' memory-efficient attention, which wants [B, tokens, H, D] and an aligned bias."""
    from xformers.ops import memory_efficient_attention  # pyright: ignore[reportMissingImports]

    bias = None if mask is None else _aligned_bias(mask, query, key)
    q, k, v = (tensor.transpose(1, 2) for tensor in (query, key, value))
    result = memory_efficient_attention(q, k, v, attn_bias=bias).transpose(1, 2)
    if mask is not None and mask.dtype == torch.bool:
        result = result.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)
    return result


def _aligned_bias(mask: Mask, query: Query, key: Key) -> Float[Tensor, "B H Q K"]:
    """The mask as a full bias whose rows are stored at multiples of 8 elements.

    Storage is padded and then sliced: 4096 + 30 keys live in rows of 4128.
    """
    keys = key.shape[2]
    padded = -(-keys // BIAS_ALIGNMENT) * BIAS_ALIGNMENT
    bias = query.new_zeros((*query.shape[:3], padded))[..., :keys]
    return bias.copy_(_as_bias(mask, query.dtype))


def _as_bias(mask: Mask, dtype: torch.dtype) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, -math.inf)


def _check_mask(mask: Mask, query: Query, key: Key) -> None:
    wanted = (*query.shape[:3], key.shape[2])
    fits = mask.ndim == 4 and mask.shape[-1] == wanted[-1]
    if not fits or any(m not in (1, w) for m, w in zip(mask.shape, wanted, strict=True)):
        raise AttentionError(
            f"an attention mask must be broadcastable to [batch, heads, queries, keys] = "
            f"{list(wanted)}; got {list(mask.shape)}"
        )


@cache
def _has_xformers() -> bool:
    if importlib.util.find_spec("xformers") is None:
        return False
    try:
        importlib.import_module("xformers.ops")
    except (ImportError, OSError) as error:  # built for another PyTorch or CUDA
        log.warning("xformers is installed but cannot be imported (%s): using SDPA", error)
        return False
    return True


@cache
def _say_once(message: str) -> Any:
    log.warning(message)
