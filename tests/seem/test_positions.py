import math

import pytest
import torch

from seem.positions import sine_positions, sine_positions_at


def test_channels_are_waves_of_y_then_of_x():
    places = sine_positions(3, 5, 16)
    assert places.shape == (16, 3, 5)
    for row in range(3):
        for column in range(5):
            y = (row + 1) / (3 + 1e-6) * 2 * math.pi
            x = (column + 1) / (5 + 1e-6) * 2 * math.pi
            for half, value in enumerate((y, x)):
                for j in range(8):
                    angle = value / 10000 ** (2 * (j // 2) / 8)
                    wanted = math.cos(angle) if j % 2 else math.sin(angle)
                    got = places[8 * half + j, row, column].item()
                    assert got == pytest.approx(wanted, abs=1e-5)


def test_half_precision_is_rounded_once_from_float32():
    exact = sine_positions(4, 4, 32)
    assert torch.equal(sine_positions(4, 4, 32, dtype=torch.bfloat16), exact.bfloat16())


def test_places_have_the_waves_of_the_pixels_that_end_there():
    maps = sine_positions(4, 8, 32)
    places = torch.tensor([[0.25, 0.125], [1.0, 1.0], [0.75, 0.5]])
    wanted = torch.stack([maps[:, 0, 0], maps[:, 3, 7], maps[:, 2, 3]])
    assert torch.allclose(sine_positions_at(places, 32), wanted, atol=1e-4)


def test_channels_come_in_fours():
    with pytest.raises(ValueError, match="multiple of 4 channels, got 6"):
        sine_positions(2, 2, 6)
