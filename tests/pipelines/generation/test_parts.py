"""A VAE and a text encoder from elsewhere: drawn with, told, and drawn with again."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from pipelines.generate import main
from pipelines.generation.png import read_png
from tests.weights import tiny
from weights.base import load_base

COMMON = ["--no-overlay", "--device", "cpu", "--steps", "2", "--adapter", "none"]
SIZE = ["--width", "32", "--height", "32"]


def read(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    return tiny.write_pipeline(tmp_path_factory.mktemp("parts") / "sd")


@pytest.fixture
def bare(pipeline, tmp_path) -> Path:
    """The same UNet alone in a file."""
    path = tmp_path / "unet.safetensors"
    save_file(tiny.official_unet(load_base(pipeline).unet), path)
    return path


def test_a_unet_alone_draws_with_parts_from_elsewhere(bare, pipeline, tmp_path, capsys):
    first, again, other = (str(tmp_path / f"{name}.png") for name in "abc")
    start = ["--model", str(bare), "--prompt", "a toy", *SIZE, *COMMON]
    assert main([*start, "--out", first]) == 2
    line = capsys.readouterr().err
    assert "no VAE" in line
    assert "--vae sd-vae-ft-mse" in line
    assert line.count("\n") == 1
    parts = ["--vae", str(pipeline), "--text-encoder", str(pipeline)]
    assert main([*start, *parts, "--out", first]) == 0
    told = read_png(first).provenance.settings
    assert (told["vae"], told["text_encoder"]) == (str(pipeline), str(pipeline))
    assert main(["--from-image", first, "--out", again, *COMMON]) == 2
    assert "and 2 more, which only its metadata names: --trust" in capsys.readouterr().err
    assert main(["--from-image", first, "--trust", "--out", again, *COMMON]) == 0
    assert np.array_equal(read(first), read(again))
    vae = changed_vae(pipeline, tmp_path)
    assert main(["--from-image", first, "--trust", "--vae", str(vae), "--out", other, *COMMON]) == 0
    assert not np.array_equal(read(first), read(other))
    assert read_png(other).provenance.settings["vae"] == str(vae)


def changed_vae(pipeline: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "vae"
    shutil.copytree(pipeline / "vae", folder)
    [file] = folder.glob("*.safetensors")
    state = load_base(pipeline).vae.state_dict()
    state = {key: value + 0.01 * torch.ones_like(value) for key, value in state.items()}
    save_file(state, file)
    return folder
