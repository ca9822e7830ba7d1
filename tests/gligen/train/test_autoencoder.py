"""The fitted patches are the best linear code, and the refiner starts from there."""

import numpy as np
import pytest
import torch
from einops import rearrange

from gligen.train.autoencoder import (
    build_autoencoder,
    fit_patches,
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
    model = build_autoencoder(width=8, latent_channels=32).requires_grad_(False)
    fit_patches(model, images)
    return model


def squared_error(model, images):
    pixels = to_tensor(images)
    return (model.decode(model.encode(pixels).latents).sample - pixels).square().mean()


def test_latents_are_centred_uncorrelated_and_of_mean_variance_one(model, images):
    latents = rearrange(model.encode(to_tensor(images)).latents, "B C h w -> (B h w) C")
    assert latents.mean(0).abs().max() < 1e-3
    correlation = torch.corrcoef(latents.T) - torch.eye(32)
    assert correlation.abs().max() < 0.01
    assert latents.square().mean() == pytest.approx(1, abs=0.02)
    assert latents.std(0)[0] > 2 * latents.std(0)[31]  # coarse channels are the loud ones


def test_no_linear_code_of_this_size_keeps_more(model, images):
    """Against plain principal components of whole patches: the nested ones lose next to nothing."""
    patches = rearrange(to_tensor(images), "B C (h p) (w q) -> (B h w) (p q C)", p=16, q=16)
    centred = patches - patches.mean(0)
    axes = principal_axes(centred)[:, :32]
    best = (centred - centred @ axes @ axes.T).square().mean()
    assert best <= squared_error(model, images) <= 1.1 * best


def test_pixels_survive_the_way_to_tensors_and_back(images):
    assert np.array_equal(to_images(to_tensor(images)), images)
