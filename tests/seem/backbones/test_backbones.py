"""What all backbones have in common: the official keys, their maps, and what they refuse."""

import json
from pathlib import Path

import pytest
import torch

from grounding.errors import LavallamaError
from seem.backbones import (
    BackboneConfig,
    DaViTConfig,
    FocalNetConfig,
    SamViTConfig,
    build_backbone,
)
from seem.backbones.davit import DAVITS
from seem.backbones.focalnet import FOCALNETS
from seem.backbones.sam_vit import SAM_VITS
from tests.parity.seem_inputs import fill_module

KEYS = json.loads((Path(__file__).parents[2] / "golden" / "seem_keys.json").read_text())
TINY = [
    pytest.param(FocalNetConfig(dim=8, depths=(1, 1, 2, 1)), id="focal-depthwise"),
    pytest.param(
        FocalNetConfig(dim=8, depths=(1, 1, 1, 1), focal_levels=2, block="plain", stem_padding=2),
        id="focal-plain",
    ),
    pytest.param(
        DaViTConfig(dims=(8, 16, 32, 64), heads=(1, 2, 4, 8), depths=(1, 1, 1, 1)), id="davit"
    ),
    pytest.param(
        SamViTConfig(
            dim=16,
            depth=2,
            heads=2,
            global_blocks=(1,),
            window=3,
            image_size=64,
            channels=(4, 8, 16, 32),
        ),
        id="sam",
    ),
]


def tiny(config: BackboneConfig) -> torch.nn.Module:
    backbone = build_backbone(config).eval()
    fill_module(backbone, lambda key: f"tiny.{key}")
    return backbone


@pytest.mark.parametrize("name", [*FOCALNETS, *DAVITS, *SAM_VITS])
def test_keys_and_shapes_are_the_official_ones(name):
    with torch.device("meta"):
        backbone = build_backbone({**FOCALNETS, **DAVITS, **SAM_VITS}[name])
    ours = {f"backbone.{key}": list(value.shape) for key, value in backbone.state_dict().items()}
    official = {key: shape for key, shape in KEYS[f"{name}_v1"].items() if "backbone." in key}
    assert ours == official


@pytest.mark.parametrize("config", TINY)
def test_maps_have_the_promised_channels_and_strides(config):
    backbone = tiny(config)
    maps = backbone(torch.zeros(2, 3, 64, 64))
    assert [tuple(x.shape) for x in maps] == [
        (2, channels, 64 // stride, 64 // stride)
        for channels, stride in zip(backbone.channels, (4, 8, 16, 32), strict=True)
    ]
    assert all(x.is_contiguous() for x in maps)


@pytest.mark.parametrize("config", TINY)
def test_an_image_does_not_see_its_batch(config):
    backbone = tiny(config).requires_grad_(False)
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for alone, together in zip(backbone(pixels[1:]), backbone(pixels), strict=True):
        torch.testing.assert_close(together[1:], alone, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(together[:1], alone, rtol=1e-3)


@pytest.mark.parametrize("config", TINY)
def test_every_parameter_learns(config):
    backbone = tiny(config)
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.stack([x.square().mean() for x in backbone(pixels)]).sum().backward()
    asleep = [name for name, value in backbone.named_parameters() if not value.grad.any()]
    assert asleep == []


@pytest.mark.parametrize("config", TINY)
@pytest.mark.parametrize("shape", [(1, 3, 64, 50), (1, 4, 64, 64), (3, 64, 64), (1, 3, 0, 64)])
def test_unpadded_pixels_are_refused(config, shape):
    with pytest.raises(LavallamaError, match="preprocess the images first"):
        tiny(config)(torch.zeros(shape))


def test_a_config_of_nothing_is_refused():
    with pytest.raises(LavallamaError, match="got dict"):
        build_backbone({"dim": 96})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("config", "values", "cure"),
    [
        (FocalNetConfig, {"block": "focal"}, "depthwise or plain.*got block 'focal'"),
        (FocalNetConfig, {"stem_padding": 1}, "stem_padding 2 or 3"),
        (FocalNetConfig, {"focal_window": 4}, "must be odd"),
        (DaViTConfig, {"heads": (4, 8, 16, 31)}, "multiples of its heads"),
        (DaViTConfig, {"patch_kernel": 4}, "must be 2 or 3"),
        (SamViTConfig, {"heads": 7}, "multiple of its heads"),
        (SamViTConfig, {"image_size": 1000}, "image_size 1000"),
    ],
)
def test_impossible_sizes_are_refused_before_building(config, values, cure):
    with pytest.raises(LavallamaError, match=cure):
        config(**values)
