"""Folders of tiny LLaVAs, in every state that people leave them in."""

import json
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPConfig as WholeClipConfig
from transformers import (
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionModel,
    LlamaForCausalLM,
)

from grounding.llava.conversation import Conversation
from grounding.llava.decoding import Decoding
from grounding.llava.model import Llava
from tests.grounding.llava import tiny
from weights.llava import llava_state, write_llava

LAYOUTS = ("original", "transformers")
QUESTION = Conversation.of("What is it?", [tiny.picture(40, 30)])
SHORT = Decoding(max_tokens=8)


def written(model: Llava, folder: Path, layout: str, **more) -> Path:
    return write_llava(llava_state(model), model.config, folder, layout=layout, **more)


def original(model: Llava) -> dict[str, Tensor]:
    """Original names, independently of the table under test."""
    state = {}
    for key, tensor in llava_state(model).items():
        if key.startswith("language_model."):
            state[key.removeprefix("language_model.")] = tensor
        elif key.startswith("vision_tower."):
            rest = key.removeprefix("vision_tower.")
            state[f"model.vision_tower.vision_tower.vision_model.{rest}"] = tensor
        elif key.startswith("projector."):
            state[f"model.mm_{key}"] = tensor
        else:
            state[f"model.{key}"] = tensor
    return state


def edit(folder: Path, **changes) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: v for key, v in config.items() if v is not None}))


def tower_folder(model: Llava, folder: Path, *, whole: bool) -> Path:
    """A vision tower by itself, or inside a CLIP with words."""
    vision = model.config.vision
    if whole:
        text = CLIPTextConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
            vocab_size=50,
        )  # fmt: skip
        clip = CLIPModel(
            WholeClipConfig(text_config=text.to_dict(), vision_config=vision.to_dict())
        )
        state = model.vision_tower.state_dict()
        level = "vision_model."  # which old versions of transformers have in a tower alone
        clip.vision_model.load_state_dict({k.removeprefix(level): t for k, t in state.items()})
    else:
        clip = CLIPVisionModel(vision)
        clip.load_state_dict(model.vision_tower.state_dict())
    clip.save_pretrained(folder)
    return folder


def language_model(model: Llava, folder: Path) -> Path:
    inner = model.language_model
    assert isinstance(inner, LlamaForCausalLM)
    inner.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def stage_1(model: Llava, folder: Path, tower: Path) -> Path:
    """What the first stage of training leaves: a projector and a config."""
    written(model, folder, "original")
    (folder / "model.safetensors").unlink()
    edit(folder, mm_vision_config=None, mm_vision_tower=str(tower))
    torch.save(
        {key: t for key, t in original(model).items() if "mm_projector" in key},
        folder / "mm_projector.bin",
    )
    return folder
