"""The distance between pictures, by a network whose features are known; and when there is none."""

import sys
import types

import numpy as np
import pytest
import torch

from gligen.evaluation.frechet import WEIGHTS, open_frechet
from grounding.errors import CheckpointError, LavallamaError, OfflineError


class MeanColour(torch.nn.Module):
    """Three features: how red, green and blue a picture is."""

    num_features = 3

    def forward(self, pixels):
        return pixels.double().mean((2, 3))


def flat(*colour):
    return np.full((5, 7, 3), colour, np.uint8)


TRUE = [flat(0, 0, 0), flat(2, 0, 0)]  # mean 1 0 0; variance 2 0 0
SPREAD = [flat(3, 5, 0), flat(11, 5, 0)]  # mean 7 5 0; variance 32 0 0


@pytest.fixture
def distance():
    return open_frechet(features=MeanColour())


def test_it_is_the_distance_of_two_normal_distributions(distance):
    for image in TRUE:
        distance.add(image, real=True)
    for image in SPREAD:
        distance.add(image, real=False)
    # 6^2 + 5^2 between the means; (sqrt 32 - sqrt 2)^2 between the variances
    assert distance.result() == {"fid": pytest.approx(61 + 18, rel=1e-4), "pictures": 2}
    for image in TRUE:
        distance.add(image, real=False)
    again = distance.result()
    assert again == {"fid": pytest.approx(0, abs=1e-4), "pictures": 2}, "the true ones stay"


def test_one_picture_is_not_enough(distance):
    distance.add(TRUE[0], real=True)
    distance.add(TRUE[0], real=False)
    with pytest.raises(LavallamaError, match="two pictures of each kind or more; got 1"):
        distance.result()


def test_without_the_libraries_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(LavallamaError, match=r'pip install "lavallama\[eval\]"') as caught:
        open_frechet()
    assert "\n" not in str(caught.value)


def test_no_other_weights_are_taken(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(OfflineError, match=WEIGHTS):
        open_frechet(offline=True)
    with pytest.raises(CheckpointError, match="no such file"):
        open_frechet(tmp_path / "none.pth")
    other = tmp_path / "checkpoints" / WEIGHTS
    other.parent.mkdir()
    other.write_bytes(b"something else")
    for given in (None, other):
        with pytest.raises(CheckpointError, match="SHA-256"):
            open_frechet(given, offline=True)
