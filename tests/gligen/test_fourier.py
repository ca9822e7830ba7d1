import math

import pytest
import torch

from gligen.fourier import fourier_embed, fourier_width


def test_frequencies_then_sine_and_cosine_then_coordinates():
    box = [0.1, 0.25, 0.5, 1.0]
    expected = []
    for i in range(8):
        frequency = 100 ** (i / 8)
        expected += [math.sin(frequency * c) for c in box] + [math.cos(frequency * c) for c in box]
    assert fourier_embed(torch.tensor(box)).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_computed_in_float32_whatever_comes_in(dtype):
    boxes = torch.tensor([[0.125, 0.25, 0.5, 0.75]], dtype=dtype)  # exact in every dtype
    assert torch.equal(fourier_embed(boxes), fourier_embed(boxes.float()))
    assert fourier_embed(boxes).dtype == torch.float32


@pytest.mark.parametrize("coordinates", [2, 4])
def test_width(coordinates):
    assert fourier_embed(torch.rand(3, 5, coordinates)).shape == (3, 5, fourier_width(coordinates))
