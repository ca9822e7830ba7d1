"""The benchmark compares like with like: both sides draw the same picture."""

import warnings

import numpy as np
import torch

from benchmarks.generate import build_ours, build_peer, parse
from benchmarks.random_model import SIZES, RandomModel


def test_both_sides_draw_the_same_picture():
    options = parse(["--size", "tiny", "--steps", "3"])
    model = RandomModel(SIZES["tiny"], torch.device("cpu"), torch.float32)
    draw_ours, _ = build_ours(model, options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peer is deprecated
        draw_peer, _ = build_peer(model, options)
        peer = draw_peer()
    ours = draw_ours()
    assert ours.shape == peer.shape == (64, 64, 3)
    assert peer.std() > 10
    assert np.abs(ours.astype(int) - peer.astype(int)).max() <= 1  # rounding of half a level


def test_the_three_sizes_are_complete():
    for name, size in SIZES.items():
        with torch.device("meta"):
            model = RandomModel(size, torch.device("cpu"), torch.float32)
        assert model.width == size.unet["cross_attention_dim"], name
        assert size.pixels % model._factor == 0
