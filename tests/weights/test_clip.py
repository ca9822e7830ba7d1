import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load, save_file
from transformers import CLIPConfig, CLIPModel

from grounding.clip_pixels import clip_pixels
from grounding.errors import CheckpointError, PromptError
from tests.pipelines.conftest import tiny_tokenizer
from weights.clip import choose_clip, load_clip

PART = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A CLIP of a few thousand parameters in transformers' layout."""
    folder = tmp_path_factory.mktemp("clip") / "model"
    tokenizer = tiny_tokenizer(folder)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 24, **ends}
    config = CLIPConfig(
        text_config={**PART, **HEADS, **text},
        vision_config={**PART, **HEADS, "image_size": 28, "patch_size": 14},
        projection_dim=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    return folder


def picture(seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (40, 30, 3), np.uint8)
    return Image.fromarray(values)


@torch.inference_mode()
def test_vectors_are_those_of_transformers(folder):
    clip, plain = load_clip(folder), CLIPModel.from_pretrained(folder)
    text = clip.tokenizer("a llama", return_tensors="pt")
    pixels = clip_pixels(picture(), 28)
    wanted = plain(input_ids=text.input_ids, pixel_values=pixels)
    found = clip.embed(["a llama", picture()])
    assert torch.allclose(found[0], wanted.text_embeds[0], atol=1e-6)
    assert torch.allclose(found[1], wanted.image_embeds[0], atol=1e-6)
    assert clip.scale == pytest.approx(float(wanted.logits_per_image / (found[0] @ found[1])))


def test_a_vector_does_not_depend_on_its_neighbours(folder):
    clip = load_clip(folder)
    many = clip.embed(["a", picture(), "a llama on a dog"])
    assert torch.equal(many[2], clip.embed(["a llama on a dog"])[0])
    assert torch.allclose(many.norm(dim=-1), torch.ones(3))


def test_the_fingerprint_is_that_of_the_parameters(folder, tmp_path):
    first = load_clip(folder).fingerprint
    assert load_clip(folder).fingerprint == first
    other = tmp_path / "other"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    state = load((other / "model.safetensors").read_bytes())
    state["logit_scale"] += 1
    save_file(state, other / "model.safetensors")
    assert load_clip(other).fingerprint != first


def test_what_cannot_be_read_is_refused(folder, tmp_path):
    clip = load_clip(folder)
    for text, problem in ((" ", "at least one word"), ("a llama " * 9, "tokens, .* reads 24")):
        with pytest.raises(PromptError, match=problem):
            clip.embed([text])
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="expected a model of type clip, got 'bert'"):
        load_clip(tmp_path)


def test_the_files_of_a_repository():
    files = ["config.json", "model.safetensors", "pytorch_model.bin", "vocab.json", "merges.txt"]
    assert choose_clip([*files, "README.md"]) == [
        "config.json",
        "model.safetensors",
        "vocab.json",
        "merges.txt",
    ]
    assert choose_clip(["README.md"]) == []
