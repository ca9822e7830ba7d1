import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from grounding.errors import CheckpointError
from grounding.prompt import GroundedPrompt
from pipelines.generation.generator import Generator
from tests.pipelines.generation.companions.conftest import layers_of, low_rank

PROMPT = GroundedPrompt(prompt="a toy")
SETTINGS = {"seed": 5, "steps": 2, "progress": False}


@pytest.fixture(scope="module")
def load(model_folder: Path):
    return lambda *loras: Generator.from_pretrained(model_folder, device="cpu", loras=loras)


def pixels(generator):
    return np.asarray(generator(PROMPT, **SETTINGS)[0].image).astype(int)


def test_kohyas_layout_is_the_same_lora(load, lora, kohya):
    ours, theirs = load(str(lora)), load(str(kohya))
    drawn = pixels(ours)
    assert np.array_equal(drawn, pixels(theirs))
    assert not np.array_equal(drawn, pixels(load()))


def test_a_layer_adds_weight_times_b_times_a(load, lora, unet):
    """Hu et al., section 4.1, with alpha = rank."""
    twice = load(f"{lora}=0.5", f"{lora}=-0.25").base.unet
    torch.manual_seed(0)
    for seed, (path, layer) in enumerate(layers_of(unet).items()):
        a, b = low_rank(layer, seed)
        x = torch.randn(3, layer.in_features)
        expected = layer(x) + 0.25 * x @ a.T @ b.T
        assert torch.allclose(twice.get_submodule(path)(x), expected, rtol=1e-4, atol=1e-4)


def test_text_encoders_are_changed_too(load, lora, text_encoder):
    changed = load(str(lora)).base.text_encoder
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        assert not torch.allclose(changed(ids)[0], text_encoder(ids)[0], atol=1e-2)
    assert not any(p.requires_grad for p in changed.parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_weight_of_nothing_leaves_every_bit(load, lora, model_folder, dtype):
    def loaded(*loras):
        return Generator.from_pretrained(model_folder, device="cpu", dtype=dtype, loras=loras).base

    plain, resting, changed = loaded(), loaded(f"{lora}=0"), loaded(str(lora))
    for part in ("unet", "text_encoder"):
        before = getattr(plain, part).state_dict()
        after = getattr(resting, part).state_dict()
        assert before.keys() == after.keys() == getattr(changed, part).state_dict().keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
        assert not any(p.requires_grad for p in getattr(changed, part).parameters())


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_the_files_of_the_model_stay_as_they_are(load, lora, model_folder, tmp_path, ending):
    """They are mapped into memory, and the model's parameters are changed in place."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if ending == "bin":
        torch.save(load_file(file), file.with_suffix(".bin"))
        file.unlink()
        file = file.with_suffix(".bin")
    before = file.read_bytes()
    changed = Generator.from_pretrained(folder, device="cpu", loras=[str(lora)]).base.unet
    assert file.read_bytes() == before
    expected = load(str(lora)).base.unet.state_dict()
    assert all(torch.equal(expected[k], t) for k, t in changed.state_dict().items())


def test_order_does_not_matter(load, lora, kohya, unet, tmp_path):
    """Of a DoRA neither, which is no sum: each is what it makes of the model alone."""
    [path, *_] = layers_of(unet)
    state = {
        f"unet.{path}.lora_A.weight": torch.ones(2, 8),
        f"unet.{path}.dora_scale": torch.ones(8, 1),
    }
    save_file(
        {**state, f"unet.{path}.lora_B.weight": torch.ones(8, 2)}, tmp_path / "dora.safetensors"
    )
    names = [f"{lora}=0.5", f"{tmp_path / 'dora.safetensors'}=0.7"]
    one, two = (load(*order).base.unet.get_submodule(path) for order in (names, names[::-1]))
    torch.testing.assert_close(one.weight, two.weight)
    alone = [load(name).base.unet.get_submodule(path).weight for name in names]
    plain = unet.get_submodule(path).weight
    torch.testing.assert_close(one.weight, sum(alone) - plain)


def test_folders(load, lora, tmp_path):
    def found(folder):
        return load(str(folder)).company.loras[0].updates["unet"].keys()

    state = load_file(lora)
    expected = load(str(lora)).company.loras[0].updates["unet"].keys()
    save_file(state, tmp_path / "a.safetensors")
    assert found(tmp_path) == expected
    save_file(state, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="name the file"):
        load(str(tmp_path))
    torch.save(state, tmp_path / "pytorch_lora_weights.bin")
    assert found(tmp_path) == expected
    alone = tmp_path / "alone"
    alone.mkdir()
    torch.save(state, alone / "mine.bin")
    assert found(alone) == expected
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="name the file"):
        load(str(tmp_path / "empty"))


def test_a_folder_of_peft_for_each_part(load, lora, tmp_path):
    """The config of each says its alpha, here twice the rank."""
    for part in ("unet", "text_encoder"):
        (tmp_path / part).mkdir()
        state = {
            "base_model.model."
            + key.removeprefix(f"{part}.")
            .replace("lora_linear_layer.down", "lora_A")
            .replace("lora_linear_layer.up", "lora_B"): tensor
            for key, tensor in load_file(lora).items()
            if key.startswith(f"{part}.")
        }
        save_file(state, tmp_path / part / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
        (tmp_path / part / "adapter_config.json").write_text(json.dumps(config))
    ours, theirs = load(str(tmp_path)), load(f"{lora}=2")
    for part in ("unet", "text_encoder"):
        expected = getattr(theirs.base, part).state_dict()
        for key, tensor in getattr(ours.base, part).state_dict().items():
            torch.testing.assert_close(tensor, expected[key])


def test_a_folder_of_peft_on_the_hub(load, lora, tmp_path, loopback_hub):
    """Its config comes with it, whether the folder or the file is named."""
    head = "base_model.model."
    state = {key: t for key, t in load_file(lora).items() if key.startswith("unet.")}
    save_file(
        {key.replace("unet.", head): t for key, t in state.items()}, tmp_path / "x.safetensors"
    )
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 6}
    files = {
        "README.md": b"a card",
        "adapter_config.json": json.dumps(config).encode(),
        "adapter_model.safetensors": (tmp_path / "x.safetensors").read_bytes(),
    }
    loopback_hub.put("someone/lora", files)
    for name in ("someone/lora", "someone/lora/adapter_model.safetensors=0.5"):
        [found] = load(name).company.loras
        assert {update.scale for update in found.updates["unet"].values()} == {3.0}


def test_words_come_with_a_lora(load, lora, embedding, tmp_path):
    """OneTrainer bundles them; they are drawn again with the LoRA alone."""
    [vectors] = load_file(embedding).values()
    bundle = {"bundle_emb.<toy>.emb_params": vectors}
    save_file({**load_file(lora), **bundle}, tmp_path / "bundle.safetensors")
    generator = load(str(tmp_path / "bundle.safetensors"))
    assert generator.company.spelled("a <toy>") == "a <toy> <toy>_1"
    assert [*generator.company.notes()] == ["lora"]
    rows = generator.base.tokenizer("a <toy> <toy>_1").input_ids[2:4]
    assert torch.equal(generator.base.text_encoder.get_input_embeddings().weight[rows], vectors)
    save_file({"bundle_emb.<toy>.emb_params": torch.zeros(1, 7)}, tmp_path / "wide.safetensors")
    with pytest.raises(CheckpointError, match=r"<toy>.*vectors of \[7\] channels"):
        load(str(tmp_path / "wide.safetensors"))


def test_files_that_do_not_serve(load, lora, kohya, tmp_path):
    state = load_file(lora)
    first = next(key for key in state if key.startswith("unet."))
    other = {**state, "unet.nowhere.to_q.lora_A.weight": torch.zeros(2, 8)}
    wide = {**state, first: torch.zeros(2, 999)}
    stray = {**state, "vae.x.lora_A.weight": torch.zeros(2, 8)}
    extra = {**load_file(kohya), "lora_unet_mid.weight": torch.zeros(2)}
    for bad, said in (
        (other, "nowhere.to_q"),
        (wide, "does not fit at"),
        (stray, "vae.x"),
        (extra, "lora_unet_mid.weight"),
        ({"x": torch.zeros(1)}, "not a LoRA"),
    ):
        save_file(bad, tmp_path / "bad.safetensors")
        with pytest.raises(CheckpointError, match=said) as refused:
            load(str(tmp_path / "bad.safetensors"))
        assert "\n" not in str(refused.value)
    (tmp_path / "cut.safetensors").write_bytes(lora.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        load(str(tmp_path / "cut.safetensors"))
    with pytest.raises(CheckpointError, match="no such file or folder"):
        load("nothing.safetensors=0.5")
