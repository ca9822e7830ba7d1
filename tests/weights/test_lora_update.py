"""Against what LyCORIS' own layers computed: see `tests.parity.lycoris`."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from tests.parity.lycoris import cases, layers
from weights.lora import KEY, TENSORS
from weights.lora_update import Update, find_rank, is_complete

GOLDEN = load_file(Path(__file__).parents[1] / "golden" / "lycoris.safetensors")


def tensors_of(case: str) -> dict[str, Tensor]:
    """A case's tensors, by our names."""
    found = {}
    for key, tensor in GOLDEN.items():
        if key.startswith(f"{case}||") and not key.endswith("||y"):
            match = KEY.match(f"layer.{key.removeprefix(f'{case}||')}")
            assert match is not None, key
            found[next(name for name in TENSORS if match[name])] = tensor
    return found


def apply(layer: nn.Module, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if isinstance(layer, nn.Conv2d):
        return functional.conv2d(x, weight, bias, padding=1)
    if isinstance(layer, nn.LayerNorm):
        return functional.layer_norm(x, (12,), weight, bias)
    return functional.linear(x, weight, bias)


@pytest.mark.parametrize("case", cases())
def test_each_kind_computes_what_lycoris_does(case):
    kind = case.split()[0]
    base = {name: GOLDEN[f"{kind}|base.{name}"] for name in ("weight", "bias")}
    tensors = tensors_of(case)
    alpha = tensors.pop("alpha", None)
    assert is_complete(tensors.keys())
    rank = find_rank(tensors)
    scale = float(alpha) / rank if alpha is not None and rank else 1.0
    assert scale == (0.5 if rank else 1.0)
    update = Update(tensors=tensors, scale=scale)
    change, shift = update.weight(base["weight"]), update.bias(base["bias"])
    weight = base["weight"] + change
    bias = base["bias"] if shift is None else base["bias"] + shift
    found = apply(layers()[kind], GOLDEN[f"{kind}|x"], weight, bias)
    assert not torch.allclose(found, apply(layers()[kind], GOLDEN[f"{kind}|x"], **base), atol=0.1)
    torch.testing.assert_close(found, GOLDEN[f"{case}||y"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", cases())
def test_a_change_of_another_layer_does_not_fit(case):
    shape = {"linear": (16, 10), "conv": (16, 12, 1, 1), "norm": (10,)}[case.split()[0]]
    update = Update(tensors=tensors_of(case), scale=1.0)
    with pytest.raises((ValueError, RuntimeError)):
        update.weight(torch.zeros(shape))


def test_a_kind_is_whole():
    for case in cases():
        names = set(tensors_of(case)) - {"alpha"}
        for name in names - {"dora_scale", "b_norm", "diff_b"}:
            less = names - {name}
            # What a core leaves, and a difference of the bias alone, are kinds as well.
            assert not is_complete(less) or name in {"mid", "lokr_t2", "diff"}, (case, name)
        assert not is_complete(names | {"diff", "down"})
    assert not is_complete({"dora_scale"})
    assert not is_complete(set())
