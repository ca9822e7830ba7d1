"""The autoencoder's shapes, its files, and that an untrained refiner does nothing."""

import pytest
import torch

from gligen.patch_autoencoder import PatchAutoencoder


@pytest.fixture
def model():
    torch.manual_seed(0)
    return PatchAutoencoder(latent_channels=6, block_out_channels=(8,) * 4, refiner_layers=1).eval()


@torch.no_grad()
def test_one_latent_cell_for_each_patch(model):
    pixels = torch.randn(2, 3, 24, 40)
    latents = model.encode(pixels).latents
    assert latents.shape == (2, 6, 3, 5)
    assert model.decode(latents).sample.shape == pixels.shape
    assert torch.equal(model.decode(latents, return_dict=False)[0], model.decode(latents).sample)


@torch.no_grad()
def test_an_untrained_refiner_changes_nothing(model):
    latents = torch.randn(1, 6, 2, 2)
    assert torch.equal(model.decode(latents).sample, model.decoder(latents))


@torch.no_grad()
def test_saved_and_loaded_it_is_the_same(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = PatchAutoencoder.from_pretrained(tmp_path)
    latents = torch.randn(1, 6, 2, 2)
    assert torch.equal(again.decode(latents).sample, model.decode(latents).sample)
    assert again.config["latent_channels"] == 6
