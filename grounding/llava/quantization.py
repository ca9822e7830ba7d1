"""Language models in 4 or 8 bits a weight, through bitsandbytes (arXiv 2208.07339, 2305.14314)."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Literal

from torch import nn

from grounding.errors import LavallamaError
from grounding.llava.model import Llava

__all__ = ["Bits", "quantize"]

Bits = Literal[4, 8]
KEPT = "lm_head"  # stays as it is: it decides between words


def quantize(model: Llava, bits: Bits) -> None:
    """Replace the linear layers of the language model, but for its head, by those of bitsandbytes.

    Weights are turned into bits when the model is moved to its device.

    Args:
        model: On the CPU; changed in place.
        bits: 4 (NF4) or 8.

    Raises:
        LavallamaError: bitsandbytes is not installed, or the number of bits is another.
    """
    if bits not in (4, 8):
        raise LavallamaError(f"bits must be 4 or 8, got {bits}")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise LavallamaError(
            f"{bits}-bit models need bitsandbytes: pip install bitsandbytes, or load the model "
            "without bits"
        )
    bitsandbytes = importlib.import_module("bitsandbytes")

    for name, layer in list(model.language_model.named_modules()):
        if type(layer) is nn.Linear and not name.endswith(KEPT):
            parent, _, leaf = name.rpartition(".")
            new = _layer(bitsandbytes.nn, layer, bits)
            setattr(model.language_model.get_submodule(parent), leaf, new)


def _layer(nn_: Any, layer: nn.Linear, bits: Bits) -> nn.Module:
    """A layer of bits with the weights of another."""
    shape = (layer.in_features, layer.out_features)
    bias = layer.bias is not None
    if bits == 8:
        new = nn_.Linear8bitLt(*shape, bias=bias, has_fp16_weights=False)
        new.weight = nn_.Int8Params(layer.weight.data, has_fp16_weights=False, requires_grad=False)
    else:
        new = nn_.Linear4bit(*shape, bias=bias, compute_dtype=layer.weight.dtype, quant_type="nf4")
        new.weight = nn_.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
    new.bias = layer.bias
    return new
