"""The type that "auto" takes, and where it is known only when the model's size is."""

from functools import partial

import pytest
import torch

from grounding.errors import LavallamaError
from pipelines import device
from pipelines.device import BFLOAT16_PARAMETERS, choose_dtype
from pipelines.generation.generator import Generator
from weights.base import load_base

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
FEW, MANY = BFLOAT16_PARAMETERS - 1, BFLOAT16_PARAMETERS


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("where", "parameters", "expected"),
    [
        (CUDA, FEW, torch.float16),
        (CPU, FEW, torch.float32),
        (CPU, MANY, torch.bfloat16),
        (CPU, None, torch.bfloat16),
        (torch.device("mps"), MANY, torch.float32),
    ],
)
def test_auto_is_quick_where_the_cpu_computes_in_it(
    monkeypatch, native, where, parameters, expected
):
    monkeypatch.setattr(device, "computes_bfloat16", lambda: native)
    if expected is torch.bfloat16 and not native:
        expected = torch.float32
    assert choose_dtype("auto", where, parameters) is expected


def test_float16_on_a_cpu_is_refused_before_anything_is_loaded():
    with pytest.raises(LavallamaError, match="bfloat16"):
        choose_dtype("float16", CPU)
    with pytest.raises(LavallamaError, match="float16 on a CPU"):
        Generator.from_pretrained("no-such-model", device="cpu", dtype="float16")
    assert choose_dtype("float16", CUDA) is torch.float16


@pytest.mark.parametrize("limit", [1, 10**12])
def test_the_size_of_the_unet_settles_the_type_of_all_parts(monkeypatch, limit):
    monkeypatch.setattr(device, "BFLOAT16_PARAMETERS", limit)
    monkeypatch.setattr(device, "computes_bfloat16", lambda: True)
    base = load_base(dtype=partial(choose_dtype, "auto", CPU))
    expected = torch.bfloat16 if limit == 1 else torch.float32
    assert {base.unet.dtype, base.vae.dtype, base.text_encoder.dtype} == {expected}


def test_the_bundled_model_keeps_float32(monkeypatch):
    monkeypatch.setattr(device, "computes_bfloat16", lambda: True)
    assert load_base(dtype=partial(choose_dtype, "auto", CPU)).unet.dtype is torch.float32
