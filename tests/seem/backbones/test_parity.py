"""The golden numbers of the official code: preprocessing and the maps of all backbones."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seem.backbones import BackboneConfig, build_backbone
from seem.backbones.davit import DAVITS
from seem.backbones.focalnet import FOCALNETS
from seem.backbones.sam_vit import SAM_VITS
from seem.preprocess import preprocess
from tests.parity import seem_inputs

GOLDEN = Path(__file__).parents[2] / "golden"
TAG = "golden:"
TOLERANCE = 1e-4  # of the largest number of an array
CHANNEL_STEPS = (12, 12, 16, 16)  # what a golden file keeps of a map
PLACE_STEPS = {"samvitb": (32, 16, 8, 4)}
CASES = [
    pytest.param("focalt", FOCALNETS["focalt"], id="focalt"),
    pytest.param("focall", FOCALNETS["focall"], id="focall", marks=pytest.mark.slow),
    pytest.param("davitd3", DAVITS["davitd3"], id="davitd3"),
    pytest.param("samvitb", SAM_VITS["samvitb"], id="samvitb", marks=pytest.mark.slow),
]


def assert_close(ours: torch.Tensor, golden: np.ndarray) -> None:
    assert tuple(ours.shape) == golden.shape
    worst = np.abs(ours.numpy() - golden).max()
    assert worst <= TOLERANCE * np.abs(golden).max()


@pytest.mark.parametrize(("name", "config"), CASES)
def test_maps_are_the_official_ones(name: str, config: BackboneConfig) -> None:
    golden = np.load(GOLDEN / f"seem_{name}_v1.npz")
    backbone = build_backbone(config).eval().requires_grad_(False)
    seem_inputs.fill_module(backbone, lambda key: f"backbone.{key}")
    sam = name == "samvitb"
    size = seem_inputs.SAM_IMAGE_SIZE if sam else seem_inputs.IMAGE_SIZE
    image = seem_inputs.image(f"{TAG}sam.image" if sam else f"{TAG}image", *size)
    batch = preprocess([torch.from_numpy(image)], divisor=backbone.size_divisibility)
    assert list(batch.pixels.shape) == golden["preprocessed.shape"].tolist()
    step = 64 if sam else 16
    np.testing.assert_allclose(
        batch.pixels[:, :, ::step, ::step].numpy(), golden["preprocessed"], atol=1e-6
    )
    place_steps = PLACE_STEPS.get(name, (8, 4, 2, 1))
    maps = backbone(batch.pixels)
    for level, x in enumerate(maps):
        c, s = CHANNEL_STEPS[level], place_steps[level]
        assert_close(x[:, ::c, ::s, ::s], golden[f"backbone.res{level + 2}"])
        stat = torch.stack((x.mean(), x.std(correction=0), x.abs().max()))
        assert_close(stat, golden[f"backbone.res{level + 2}.stat"])
