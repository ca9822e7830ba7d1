"""What is only a part of a LLaVA: a projector, a tower apart, a LoRA."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from grounding.errors import CheckpointError
from grounding.llava.model import Llava
from tests.grounding.llava import tiny
from tests.weights.llava_folders import (
    LAYOUTS,
    QUESTION,
    SHORT,
    edit,
    language_model,
    original,
    stage_1,
    tower_folder,
    written,
)
from tests.weights.tiny import same
from weights.llava import llava_state, read_llava, write_llava
from weights.llava_chat import load_chat

BASE = "base_model.model."  # peft


@pytest.mark.parametrize("whole", [True, False])
def test_a_tower_apart_is_found(tmp_path, whole):
    model = tiny.llava()
    folder = written(model, tmp_path / "a", "original")
    state = original(model)
    save_file(
        {key: t.contiguous() for key, t in state.items() if "vision_tower" not in key},
        folder / "model.safetensors",
    )
    tower = tower_folder(model, tmp_path / "clip", whole=whole)
    edit(folder, mm_vision_config=None, mm_vision_tower=str(tower))
    assert same(read_llava(folder).state, llava_state(model))
    edit(folder, mm_vision_tower=str(tmp_path / "elsewhere"))
    assert same(read_llava(folder, vision_tower=tower).state, llava_state(model))


@pytest.mark.parametrize("version", ["v1", "v1.5"])
def test_a_projector_alone_is_put_upon_its_language_model(tmp_path, version):
    model = tiny.llava(version)
    tower = tower_folder(model, tmp_path / "clip", whole=False)
    folder = stage_1(model, tmp_path / "stage1", tower)
    base = language_model(model, tmp_path / "vicuna")
    for source in (folder, folder / "mm_projector.bin"):
        assert same(read_llava(source, base=base).state, llava_state(model))
    with pytest.raises(CheckpointError, match="name what it was trained on"):
        read_llava(folder)
    speaker = load_chat(folder, base=base)  # with the base's tokenizer
    assert speaker.answer(QUESTION, SHORT)


def trained(model: Llava, folder: Path, layout: str, **config) -> dict[str, Tensor]:
    """Write a LoRA with random factors; return what it must become."""
    generator = torch.Generator().manual_seed(0)
    state, factors = llava_state(model), {}
    expected = dict(state)
    for key in list(state):
        if not key.endswith(("q_proj.weight", "up_proj.weight")) or "language" not in key:
            continue
        rank = 4
        down = torch.randn(rank, state[key].shape[1], generator=generator)
        up = torch.randn(state[key].shape[0], rank, generator=generator)
        name = key.removesuffix(".weight")
        if layout == "original":
            name = name.removeprefix("language_model.")
        else:
            name = name.replace("language_model.model.", "model.language_model.")
        factors[f"{BASE}{name}.lora_A.weight"] = down
        factors[f"{BASE}{name}.lora_B.weight"] = up
        expected[key] = state[key] + config.get("scale", 2.0) * (up @ down)
    projector = {"projector.0.weight": torch.randn(32, 32, generator=generator)}
    expected |= projector
    folder.mkdir()
    if layout == "original":
        beside = {f"{BASE}model.mm_projector.0.weight": projector["projector.0.weight"]}
        torch.save(beside, folder / "non_lora_trainables.bin")
    else:
        name = "model.multi_modal_projector.linear_1.weight"
        factors[BASE + name] = projector["projector.0.weight"]
    save_file(factors, folder / "adapter_model.safetensors")
    text = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **config}
    text.pop("scale", None)
    (folder / "adapter_config.json").write_text(json.dumps(text))
    return expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_lora_is_merged(tmp_path, layout):
    model = tiny.llava()
    base = written(model, tmp_path / "base", layout, tokenizer=tiny.tokenizer())
    expected = trained(model, tmp_path / "lora", layout)
    files = read_llava(tmp_path / "lora", base=base)
    assert same(files.state, expected)
    for other in LAYOUTS:  # and goes on as any other model
        folder = write_llava(files.state, files.config, tmp_path / other, layout=other)
        assert same(read_llava(folder).state, expected)


def test_a_lora_upon_a_bare_language_model(tmp_path):
    model = tiny.llava()
    base = language_model(model, tmp_path / "vicuna")
    tower = tower_folder(model, tmp_path / "clip", whole=False)
    expected = trained(
        model, tmp_path / "lora", "original", base_model_name_or_path=str(base), scale=2.0
    )
    folder = tmp_path / "lora"
    projector = {f"{BASE}{key}": t for key, t in original(model).items() if "mm_projector" in key}
    projector[f"{BASE}model.mm_projector.0.weight"] = expected["projector.0.weight"]
    torch.save(projector, folder / "non_lora_trainables.bin")
    written(model, tmp_path / "full", "original")
    (folder / "config.json").write_bytes((tmp_path / "full" / "config.json").read_bytes())
    edit(folder, mm_vision_config=None, mm_vision_tower=str(tower))
    assert same(read_llava(folder).state, expected)


# peft's own question of the model
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_lora_is_merged_as_peft_does(tmp_path):
    peft = pytest.importorskip("peft")
    model = tiny.llava().language_model
    config = peft.LoraConfig(
        r=4, lora_alpha=16, target_modules=["q_proj"], use_rslora=True, init_lora_weights=False
    )
    whole = tiny.llava()
    base = written(whole, tmp_path / "base", "original")
    tuned = peft.get_peft_model(model, config)
    tuned.save_pretrained(tmp_path / "lora")
    files = read_llava(tmp_path / "lora", base=base)
    merged = tuned.merge_and_unload().state_dict()
    for key, tensor in merged.items():
        torch.testing.assert_close(files.state[f"language_model.{key}"], tensor)
    assert not same(files.state, llava_state(whole))


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"use_dora": True}, "only plain LoRA"),
        ({"peft_type": "IA3"}, "config of a LoRA"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
    ],
)
def test_other_adapters_are_refused(tmp_path, config, problem):
    model = tiny.llava()
    base = written(model, tmp_path / "base", "original")
    trained(model, tmp_path / "lora", "original", **config)
    with pytest.raises(CheckpointError, match=problem):
        read_llava(tmp_path / "lora", base=base)


def test_a_lora_of_another_model_is_refused(tmp_path):
    base = written(tiny.llava(), tmp_path / "base", "original")
    trained(tiny.llava(), tmp_path / "lora", "original")
    other = {f"{BASE}model.layers.9.self_attn.q_proj.lora_A.weight": torch.zeros(4, 32)}
    save_file(other, tmp_path / "lora" / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers\.9\.self_attn\.q_proj is no layer"):
        read_llava(tmp_path / "lora", base=base)


def test_parts_of_different_types_work_together(tmp_path):
    model = tiny.llava()
    tower = tower_folder(model, tmp_path / "clip", whole=False)
    folder = stage_1(model, tmp_path / "stage1", tower)
    base = language_model(tiny.llava().to(torch.bfloat16), tmp_path / "vicuna")
    speaker = load_chat(folder, base=base)
    types = {parameter.dtype for parameter in speaker.model.parameters()}
    assert types == {torch.float32, torch.bfloat16}
    assert speaker.answer(QUESTION, SHORT)
