"""The fitted encoder is the best linear one, and the fast path computes the same."""

import numpy as np
import pytest
import torch
from einops import rearrange

from gligen.train.autoencoder import (
    RAW_SCALE,
    build_autoencoder,
    encode,
    fit_encoder,
    principal_axes,
    to_images,
    to_tensor,
)
from grounding.stickers import PRESETS, render


@pytest.fixture(scope="module")
def images():
    return np.stack([render(PRESETS["small"].scene(seed)).image for seed in range(24)])


@pytest.fixture(scope="module")
def model(images):
    torch.manual_seed(0)
    model = build_autoencoder(width=8, latent_channels=32)
    fit_encoder(model, images)
    return model


def test_one_matrix_product_equals_the_convolutions(model, images):
    with torch.no_grad():
        slow = model.encoder(to_tensor(images[:4]))
    assert torch.allclose(encode(model, images[:4]), slow, atol=1e-4)


def test_latents_are_centred_uncorrelated_and_of_mean_variance_one(model, images):
    latents = rearrange(encode(model, images), "B C h w -> (B h w) C") / RAW_SCALE
    assert latents.mean(0).abs().max() < 1e-3
    correlation = torch.corrcoef(latents.T) - torch.eye(32)
    assert correlation.abs().max() < 0.01
    assert latents.square().mean() == pytest.approx(1, abs=0.02)
    assert latents.std(0)[0] > 2 * latents.std(0)[31]  # coarse channels are the loud ones


def test_no_linear_encoder_keeps_more(model, images):
    """Against plain principal components of whole patches: the nested ones lose next to nothing."""
    pixels = to_tensor(images)
    patches = rearrange(pixels, "B C (h p) (w q) -> (B h w) (p q C)", p=16, q=16)
    patches = patches - patches.mean(0)
    axes = principal_axes(patches)[:, :32]
    best = (patches - patches @ axes @ axes.T).square().sum()
    codes = rearrange(encode(model, images), "B C h w -> (B h w) C")
    ours = (patches - codes @ torch.linalg.lstsq(codes, patches).solution).square().sum()
    assert best <= ours <= 1.05 * best


def test_pixels_survive_the_way_to_tensors_and_back(images):
    assert np.array_equal(to_images(to_tensor(images)), images)
