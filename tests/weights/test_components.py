import json

import pytest
import torch
from safetensors.torch import save_file

from grounding.errors import CheckpointError
from weights.components import read_folder


def write_shards(folder, variant, value, index):
    names = [f"diffusion_pytorch_model{variant}-{n:05}-of-00002.safetensors" for n in (1, 2)]
    for key, name in zip("ab", names, strict=True):
        save_file({key: torch.full((4,), value)}, folder / name)
    weight_map = dict(zip("ab", names, strict=True))
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.mark.parametrize("variant", ["fp16", "bf16"])
@pytest.mark.parametrize("name", ["{}.safetensors.index.{}.json", "{}.{}.safetensors.index.json"])
def test_shards_of_a_variant_are_read_by_their_index(tmp_path, variant, name):
    index = name.format("diffusion_pytorch_model", variant)
    write_shards(tmp_path, f".{variant}", 2.0, index)
    assert sorted(read_folder(tmp_path)) == ["a", "b"]
    write_shards(tmp_path, "", 1.0, "diffusion_pytorch_model.safetensors.index.json")
    assert read_folder(tmp_path)["a"][0] == 1
    assert read_folder(tmp_path, half=True)["b"][0] == 2


def test_two_models_in_one_folder_are_refused(tmp_path):
    for name in ("one", "other"):
        save_file({"a": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match=r"found one\.safetensors, other\.safetensors"):
        read_folder(tmp_path)
