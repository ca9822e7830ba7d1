from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from seem.backbones import build_backbone
from seem.backbones.focalnet import FOCALNETS
from seem.pixel_decoder import DeformablePixelDecoder, FpnPixelDecoder
from seem.preprocess import preprocess
from tests.parity.seem_inputs import IMAGE_SIZE, fill_module, image

GOLDEN = Path(__file__).parents[1] / "golden" / "seem_focalt_v0.npz"
TAG = "golden:"
TOLERANCE = 1e-4  # of an array's largest value
CHANNELS = (8, 16, 24, 40)
KINDS = {
    "fpn": lambda: FpnPixelDecoder(CHANNELS, dim=32, heads=4, depth=2, hidden=48),
    "deformable": lambda: DeformablePixelDecoder(CHANNELS, dim=32, heads=4, depth=2, hidden=48),
}


def built(kind: str) -> FpnPixelDecoder | DeformablePixelDecoder:
    torch.manual_seed(0)
    return KINDS[kind]().requires_grad_(False).eval()


def maps(batch: int, high: int = 2, wide: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four maps of a padded image of 32 * high x 32 * wide pixels."""
    generator = torch.Generator().manual_seed(1)
    res2, res3, res4, res5 = (
        torch.randn(batch, width, high * scale, wide * scale, generator=generator)
        for width, scale in zip(CHANNELS, (8, 4, 2, 1), strict=True)
    )
    return res2, res3, res4, res5


@torch.no_grad()
def test_the_pyramid_computes_the_official_numbers():
    backbone = build_backbone(FOCALNETS["focalt"]).eval()
    fill_module(backbone, lambda key: f"backbone.{key}")
    decoder = FpnPixelDecoder(backbone.channels).eval()
    fill_module(decoder, lambda key: f"sem_seg_head.pixel_decoder.{key}")
    picture = torch.from_numpy(image(f"{TAG}image", *IMAGE_SIZE))
    pixels = preprocess([picture], divisor=backbone.size_divisibility).pixels
    features = decoder(*backbone(pixels))
    got = {"mask_features": features.mask_features[:, ::16, ::7, ::8]}
    for i, step in enumerate((1, 2, 4)):
        got[f"multi_scale.{i}"] = features.multi_scale[i][:, ::32, ::step, ::step]
    with np.load(GOLDEN) as golden:
        for name, ours in got.items():
            wanted = golden[name]
            assert ours.shape == wanted.shape, name
            error = np.abs(ours.numpy() - wanted).max() / np.abs(wanted).max()
            assert error < TOLERANCE, name


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_those_of_the_strides(kind):
    features = built(kind)(*maps(2))
    assert features.mask_features.shape == (2, 32, 16, 24)
    assert [level.shape for level in features.multi_scale] == [
        (2, 32, 2, 3),
        (2, 32, 4, 6),
        (2, 32, 8, 12),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_an_images_features_do_not_depend_on_its_batch(kind):
    decoder, batch = built(kind), maps(3)
    together = decoder(*batch)
    res2, res3, res4, res5 = (level[1:2] for level in batch)
    alone = decoder(res2, res3, res4, res5)
    torch.testing.assert_close(
        alone.mask_features[0], together.mask_features[1], atol=1e-5, rtol=1e-4
    )
    for one, other in zip(alone.multi_scale, together.multi_scale, strict=True):
        torch.testing.assert_close(one[0], other[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", range(4))
def test_every_map_counts(kind, level):
    """Changing one pixel of any map changes the mask features; res2 changes nothing coarser."""
    decoder, inputs = built(kind), maps(1)
    before = decoder(*inputs)
    inputs[level][:, :, 0, 0] += 3
    after = decoder(*inputs)
    assert (after.mask_features - before.mask_features).abs().max() > 1e-2
    coarser = [
        torch.equal(one, other)
        for one, other in zip(after.multi_scale, before.multi_scale, strict=True)
    ]
    first_changed = {"fpn": (3, 2, 1, 0), "deformable": (3, 0, 0, 0)}[kind][level]
    assert coarser == [scale < first_changed for scale in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_everything_learns(kind):
    torch.manual_seed(0)
    decoder = KINDS[kind]()
    features = decoder(*maps(1))
    total = features.mask_features.square().sum()
    for level in features.multi_scale:
        total = total + level.square().sum()
    total.backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
