"""LLaVAs of a few thousand parameters, and a tokenizer of bytes."""

from functools import cache
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, CLIPVisionConfig, PreTrainedTokenizerFast

from grounding.llava.config import LlavaConfig
from grounding.llava.model import Llava, build_llava

SIDE, PATCH, WIDTH = 28, 14, 32
PINPOINTS = ((28, 56), (56, 28), (56, 56), (84, 28), (28, 84))
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
WORDS = 256 + len(SPECIAL)


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is a word; a text opens with <s>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: number for number, word in enumerate([*SPECIAL, *alphabet])}
    inner = Tokenizer(models.BPE(vocab=words, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(SPECIAL)
    from tokenizers.processors import TemplateProcessing

    inner.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def vision() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=16,
    )


def text(kind: str = "llama", **more: Any) -> Any:
    if kind == "mpt":
        values: dict[str, Any] = {"d_model": WIDTH, "n_heads": 2, "n_layers": 2}
    elif kind == "gpt2":
        values = {"n_embd": WIDTH, "n_head": 2, "n_layer": 2, "n_positions": 1024}
    else:
        values = {
            "hidden_size": WIDTH,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 2048,
        }
    tokens = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    return AutoConfig.for_model(kind, vocab_size=WORDS, **values, **tokens, **more)


def config(version: str = "v1.5", kind: str = "llama", **more: Any) -> LlavaConfig:
    choices: dict[str, Any] = {
        "v1": {"projector": "linear", "aspect": "square"},
        "v1.5": {"projector": "mlp2x_gelu", "aspect": "pad"},
        "next": {"projector": "mlp2x_gelu", "aspect": "anyres", "pinpoints": PINPOINTS},
    }[version]
    return LlavaConfig(vision=vision(), text=text(kind), **{**choices, **more})


def llava(version: str = "v1.5", kind: str = "llama", **more: Any) -> Llava:
    return build_llava(config(version, kind, **more), seed=3).eval()


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)
